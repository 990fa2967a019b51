-- hosp/prescriptions: drugs as ordered, one product of an order per row (the drug, its base, its additives).
-- An order is not a dose given (mc#1862). pharmacy_id connects a row with pharmacy, poe_id with the order and emar. If
-- poe_id is null (118 of 18,087 rows in the demo, all of 1.0), the order in pharmacy is used, otherwise -pharmacy_id.
-- left out: order_provider_id | who ordered, not what happened to the patient
-- rejected: no_time | starttime IS NULL AND stoptime IS NULL

-- [every row] the start of the order, with the ordered dose: a number, or text such as '1-2' or '25,000'.
-- Orders are entered up to hours after their start: they are available from the time the pharmacy received them.
-- (ordertime of poe is not better: orders that are rewritten, as at a transfer, keep their start and get a later
-- ordertime.) The product's NDC is on the event; all NDCs that occur under a drug's name are parents of its code. A row
-- without an NDC gives no ingredient.
SELECT
  r.subject_id,
  coalesce(r.starttime, r.stoptime)                                     AS time,
  'DRUG_ORDER_START'                                                    AS event_type,
  name_or_unknown(r.drug)                                               AS item,
  TRY_CAST(r.dose_val_rx AS DOUBLE)                                     AS numeric_value,
  text_if_informative(r.dose_val_rx, TRY_CAST(r.dose_val_rx AS DOUBLE)) AS text_value,
  nullif(trim(r.dose_unit_rx), '')                                      AS unit,
  not_before(f.entertime, coalesce(r.starttime, r.stoptime))            AS available_time,
  'minute'                                                              AS time_precision,
  r.hadm_id,
  CASE WHEN ndc_is_invalid(r.ndc) THEN flag('ndc_invalid') ELSE 0 END   AS flags,
  r.pharmacy_id                                                         AS source_key,
  coalesce(
    order_number(r.subject_id, r.poe_seq),
    order_link(r.subject_id, coalesce(r.poe_id, f.poe_id)),
    -r.pharmacy_id
  )                                                                     AS link_id,
  r.drug_type,
  r.formulary_drug_cd,
  collapse_spaces(r.gsn)                                                AS gsn,
  'NDC/' || ndc11(r.ndc)                                                AS code_parent,
  r.drug                                                                AS code_drug,
  CASE
    WHEN ndc11(r.ndc) IS NOT NULL
      THEN formulary_ingredient(r.formulary_drug_cd, r.gsn, r.ndc)
  END                                                                   AS code_ingredient,
  ndc_or_text(r.ndc)                                                    AS ndc,
  CASE WHEN ndc11(r.ndc) <> trim(r.ndc) THEN r.ndc END                  AS ndc_written,
  r.prod_strength,
  r.form_rx,
  r.form_val_disp,
  r.form_unit_disp,
  r.doses_per_24_hrs,
  r.route
FROM prescriptions AS r
LEFT JOIN (
  SELECT subject_id, pharmacy_id, min(entertime) AS entertime, min(poe_id) AS poe_id
  FROM pharmacy
  GROUP BY subject_id, pharmacy_id
) AS f USING (subject_id, pharmacy_id);

-- [also] the end of the order. 4 % are before their start (mc#1260), some before the order was entered
SELECT
  r.subject_id,
  r.stoptime                                                                  AS time,
  'DRUG_ORDER_END'                                                            AS event_type,
  name_or_unknown(r.drug)                                                     AS item,
  not_before(f.entertime, r.stoptime)                                         AS available_time,
  'minute'                                                                    AS time_precision,
  r.hadm_id,
  CASE WHEN r.stoptime < r.starttime THEN flag('end_before_start') ELSE 0 END AS flags,
  r.pharmacy_id                                                               AS source_key,
  coalesce(
    order_number(r.subject_id, r.poe_seq),
    order_link(r.subject_id, coalesce(r.poe_id, f.poe_id)),
    -r.pharmacy_id
  )                                                                           AS link_id,
  'NDC/' || ndc11(r.ndc)                                                      AS code_parent,
  r.drug                                                                      AS code_drug,
  r.drug_type
FROM prescriptions AS r
LEFT JOIN (
  SELECT subject_id, pharmacy_id, min(entertime) AS entertime, min(poe_id) AS poe_id
  FROM pharmacy
  GROUP BY subject_id, pharmacy_id
) AS f USING (subject_id, pharmacy_id)
WHERE r.stoptime IS NOT NULL;
