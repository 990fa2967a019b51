-- DERIVED//ICU_STAY_OVER//3d and //7d: three and seven days after the start of a stay in intensive care that lasts longer.
-- ACES counts events and cannot express "has not ended yet". 3 and 7 days are the lengths of stay of MIMIC-Extract
-- (Wang S et al., CHIL 2020, doi:10.1145/3368555.3384469). Start and end are matched by stay_id. A stay ends at its end or
-- at the death, whichever is earlier; a stay without an end is left out.
WITH stays AS (
  SELECT
    subject_id,
    stay_id,
    min(time) FILTER (code LIKE 'ICU\_START//%' ESCAPE '\') AS start_time,
    max(time) FILTER (code LIKE 'ICU\_END//%' ESCAPE '\')   AS end_time
  FROM events
  WHERE code LIKE 'ICU\_START//%' ESCAPE '\' OR code LIKE 'ICU\_END//%' ESCAPE '\'
  GROUP BY subject_id, stay_id
), deaths AS (
  SELECT subject_id, min(time) AS death_time
  FROM events
  WHERE code = 'MEDS_DEATH'
  GROUP BY subject_id
)
SELECT
  subject_id,
  start_time + to_days(days)                AS time,
  'DERIVED//ICU_STAY_OVER//' || days || 'd' AS code,
  NULL::FLOAT                               AS numeric_value
FROM stays
LEFT JOIN deaths USING (subject_id)
CROSS JOIN (VALUES (3), (7)) AS lengths (days)
WHERE end_time IS NOT NULL AND least(end_time, death_time) > start_time + to_days(days)
