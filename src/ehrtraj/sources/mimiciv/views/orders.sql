-- Drugs as ordered in the hospital, one product of an order per row (the drug, its base, its additives).
-- Start and end of an order are joined. An order is not a dose given. If an order contains a drug twice, in two
-- strengths, both rows have its end.
WITH
starts AS (
  SELECT split_part(code, '//', 2) AS drug, *
  FROM happened
  WHERE code LIKE 'DRUG\_ORDER\_START//%' ESCAPE '\'
),
ends AS (
  SELECT
    subject_id,
    split_part(code, '//', 2) AS drug,
    source_key,
    max(time)                 AS time,
    max(available_time)       AS available_time
  FROM happened
  WHERE code LIKE 'DRUG\_ORDER\_END//%' ESCAPE '\'
  GROUP BY subject_id, drug, source_key
)
SELECT
  s.subject_id,
  s.hadm_id,
  s.time                         AS start_time,
  e.time                         AS end_time,
  s.available_time,
  e.available_time               AS end_available_time,
  s.drug,
  s.attributes ->> '$.drug_type' AS drug_type,
  s.attributes ->> '$.route'     AS route,
  decimal_value(s.numeric_value) AS dose,
  s.unit                         AS dose_unit,
  s.text_value                   AS dose_text,
  s.attributes ->> '$.ndc'       AS ndc,
  s.source_key                   AS pharmacy_id,
  s.link_id                      AS order_id
FROM starts AS s
LEFT JOIN ends AS e USING (subject_id, drug, source_key)
