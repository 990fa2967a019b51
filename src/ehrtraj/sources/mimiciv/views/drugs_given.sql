-- Doses in the electronic medication record, one dose of one product per row. Entries that are not doses ("Not Given",
-- "Flushed") are included: action shows which they are, and is_dose is true for a dose.
-- The record was introduced from 2011 to 2013: a missing entry before that has no meaning. An entry without a recorded
-- amount has a row without a dose. Drugs given in intensive care are also in inputs.
WITH
doses AS (
  SELECT
    subject_id,
    source_key,
    decimal_value(numeric_value)           AS dose,
    unit                                   AS dose_unit,
    attributes ->> '$.route'               AS route,
    attributes ->> '$.product_description' AS product,
    available_time
  FROM happened
  WHERE code LIKE 'EMAR\_DOSE//%' ESCAPE '\' AND source_key IS NOT NULL
)
SELECT
  e.subject_id,
  e.hadm_id,
  has_flag(e.flags, 'hadm_inferred')               AS hadm_inferred,
  e.time,
  e.event_time,
  greatest(e.available_time, d.available_time)     AS available_time,
  split_part(e.code, '//', 2)                      AS action,
  NOT has_flag(e.flags, 'not_a_dose')              AS is_dose,
  split_part(e.code, '//', 3)                      AS drug,
  d.dose,
  d.dose_unit,
  d.route,
  d.product,
  CAST(e.attributes ->> '$.pharmacy_id' AS BIGINT) AS pharmacy_id,
  e.source_key                                     AS entry_id,
  e.link_id                                        AS order_id
FROM happened AS e
LEFT JOIN doses AS d ON d.subject_id = e.subject_id AND d.source_key = e.source_key
WHERE e.code LIKE 'EMAR//%'
