-- clinic/measurement: one result of a test per row.
-- rejected: no_time | taken IS NULL
-- rejected: no_test | test IS NULL

-- [every row] a result
SELECT
  subject_id,
  taken                   AS time,
  'TEST'                  AS event_type,
  test                    AS item,
  result                  AS numeric_value,
  unit,
  taken + INTERVAL 1 HOUR AS available_time,
  number_of(visit_id)     AS hadm_id
FROM measurement;
