-- hosp/emar_detail: the doses of an entry in emar. A row without parent_field_ordinal contains the dose due; rows
-- '1.1', '1.2', ... contain how much of which product was given.
-- A row has no time: it takes that of its entry. emar_id is <subject_id>-<emar_seq> in both tables (all 72,018 rows of
-- the demo have their entry), so the tables are joined by these integers.
-- left out: emar_id | it is <subject_id>-<emar_seq>, in source_key
-- left out: barcode_type, reason_for_no_barcode, non_formulary_visual_verification | how the nurse checked the product
-- rejected: no_parent | NOT EXISTS (FROM emar AS e WHERE e.subject_id = emar_detail.subject_id AND e.emar_seq = emar_detail.emar_seq AND coalesce(e.charttime, e.storetime, e.scheduletime) IS NOT NULL)

-- [every row] a dose: due, or recorded for an action ('Administered', but also 'Not Given', which can have a dose). A
-- dose that is not a number is text, such as '1-2'.
SELECT
  d.subject_id,
  e.time,
  'EMAR_DOSE'                                                           AS event_type,
  CASE
    WHEN d.parent_field_ordinal IS NULL THEN 'DUE'
    ELSE e.event_txt
  END || '//' || e.medication                                           AS item,
  TRY_CAST(d.dose AS DOUBLE)                                            AS numeric_value,
  CASE WHEN TRY_CAST(d.dose AS DOUBLE) IS NULL THEN d.dose END          AS text_value,
  d.unit,
  e.storetime                                                           AS available_time,
  'minute'                                                              AS time_precision,
  e.hadm_id,
  d.emar_seq                                                            AS source_key,
  e.link_id,
  e.product                                                             AS code_parent,
  e.drug                                                                AS code_drug,
  e.ingredient                                                          AS code_ingredient,
  d.parent_field_ordinal,
  CASE WHEN d.parent_field_ordinal IS NULL THEN d.dose_given END        AS dose_given,
  CASE WHEN d.parent_field_ordinal IS NULL THEN d.dose_given_unit END   AS dose_given_unit,
  CASE WHEN d.parent_field_ordinal IS NOT NULL THEN d.dose_due END      AS dose_due,
  CASE WHEN d.parent_field_ordinal IS NOT NULL THEN d.dose_due_unit END AS dose_due_unit,
  d.administration_type,
  nullif(d.pharmacy_id, e.pharmacy_id)                                  AS pharmacy_id,
  d.complete_dose_not_given,
  d.will_remainder_of_dose_be_given,
  d.product_amount_given,
  d.product_unit,
  d.product_code,
  d.product_description,
  d.product_description_other,
  d.route,
  d.side,
  d.site
FROM (
  SELECT
    *,
    CASE WHEN parent_field_ordinal IS NULL THEN dose_due ELSE dose_given END           AS dose,
    CASE WHEN parent_field_ordinal IS NULL THEN dose_due_unit ELSE dose_given_unit END AS unit
  FROM emar_detail
) AS d
LEFT JOIN emar_entries AS e USING (subject_id, emar_seq);

-- [also] a running infusion: its rate, in its own unit, and the state of its bag
SELECT
  d.subject_id,
  e.time,
  'EMAR_INFUSION'                                                           AS event_type,
  e.event_txt || '//' || e.medication                                       AS item,
  TRY_CAST(d.infusion_rate AS DOUBLE)                                       AS numeric_value,
  text_if_informative(d.infusion_rate, TRY_CAST(d.infusion_rate AS DOUBLE)) AS text_value,
  d.infusion_rate_unit                                                      AS unit,
  e.storetime                                                               AS available_time,
  'minute'                                                                  AS time_precision,
  e.hadm_id,
  d.emar_seq                                                                AS source_key,
  e.link_id,
  e.product                                                                 AS code_parent,
  e.drug                                                                    AS code_drug,
  e.ingredient                                                              AS code_ingredient,
  d.prior_infusion_rate,
  d.infusion_rate_adjustment,
  d.infusion_rate_adjustment_amount,
  d.infusion_complete,
  d.completion_interval,
  d.new_iv_bag_hung,
  d.continued_infusion_in_other_location,
  d.restart_interval
FROM (
  FROM emar_detail
  WHERE coalesce(
    infusion_rate, prior_infusion_rate, infusion_rate_adjustment, infusion_rate_adjustment_amount,
    infusion_complete, completion_interval, new_iv_bag_hung, continued_infusion_in_other_location,
    restart_interval
  ) IS NOT NULL
) AS d
LEFT JOIN emar_entries AS e USING (subject_id, emar_seq);
