-- hosp/pharmacy: medications dispensed for an order, one per row. They are not doses given: those are in emar.
-- poe_id connects a row with the order, prescriptions and emar (an order can have several rows here: the demo has
-- 15,220 rows and 13,470 orders). 86 rows there have no poe_id: -pharmacy_id, which is never an order's number,
-- connects their start and end.
-- left out: expiration_value, expiration_unit, expirationdate | the shelf life of the product, not the patient
-- rejected: no_time | coalesce(starttime, entertime, stoptime, verifiedtime) IS NULL

-- [every row] the medication's start as ordered. It was entered up to hours before or after, and is known from then on.
-- The table does not name a product: the code gets the NDC of the product in prescriptions.
SELECT
  subject_id,
  coalesce(starttime, entertime, stoptime, verifiedtime)                    AS time,
  'PHARMACY_START'                                                          AS event_type,
  name_or_unknown(medication)                                               AS item,
  CASE WHEN same_drug(product_name, medication) THEN product_ndc END        AS code_parent,
  medication                                                                AS code_drug,
  CASE WHEN same_drug(product_name, medication) THEN product_ingredient END AS code_ingredient,
  not_before(entertime, starttime)                                          AS available_time,
  hadm_id,
  pharmacy_id                                                               AS source_key,
  coalesce(order_link(subject_id, poe_id), -pharmacy_id)                    AS link_id,
  proc_type,
  route,
  frequency,
  disp_sched,
  infusion_type,
  sliding_scale,
  lockout_interval,
  basal_rate,
  one_hr_max,
  doses_per_24_hrs,
  duration,
  duration_interval,
  dispensation,
  fill_quantity
FROM pharmacy
LEFT JOIN ordered_products USING (subject_id, pharmacy_id);

-- [also] the pharmacist's check of the order
SELECT
  subject_id,
  verifiedtime                                                              AS time,
  'PHARMACY_VERIFIED'                                                       AS event_type,
  name_or_unknown(medication)                                               AS item,
  CASE WHEN same_drug(product_name, medication) THEN product_ndc END        AS code_parent,
  medication                                                                AS code_drug,
  CASE WHEN same_drug(product_name, medication) THEN product_ingredient END AS code_ingredient,
  hadm_id,
  pharmacy_id                                                               AS source_key,
  coalesce(order_link(subject_id, poe_id), -pharmacy_id)                    AS link_id
FROM pharmacy
LEFT JOIN ordered_products USING (subject_id, pharmacy_id)
WHERE verifiedtime IS NOT NULL;

-- [also] its end, with the way it ended. 4 % are before their start (mc#1260), some before the order was entered
SELECT
  subject_id,
  stoptime                                                                  AS time,
  'PHARMACY_END'                                                            AS event_type,
  name_or_unknown(medication)                                               AS item,
  CASE WHEN same_drug(product_name, medication) THEN product_ndc END        AS code_parent,
  medication                                                                AS code_drug,
  CASE WHEN same_drug(product_name, medication) THEN product_ingredient END AS code_ingredient,
  not_before(entertime, stoptime)                                           AS available_time,
  hadm_id,
  CASE WHEN stoptime < starttime THEN flag('end_before_start') ELSE 0 END   AS flags,
  pharmacy_id                                                               AS source_key,
  coalesce(order_link(subject_id, poe_id), -pharmacy_id)                    AS link_id,
  status
FROM pharmacy
LEFT JOIN ordered_products USING (subject_id, pharmacy_id)
WHERE stoptime IS NOT NULL;
