-- Three and seven days after the start of a stay in intensive care that lasts longer.
--
-- ACES counts events and cannot express "has not ended yet". A stay ends at its end or at the death, whichever is earlier.
-- A stay without an end has no row.
--
-- source: Wang S et al., MIMIC-Extract, CHIL 2020, doi:10.1145/3368555.3384469: long stays, over 3 and over 7 days
-- row: stay_id, time
-- columns:
--   subject_id      BIGINT     -  Patient.
--   hadm_id         BIGINT     -  Admission.
--   stay_id         BIGINT     -  ICU stay.
--   time            TIMESTAMP  -  3 or 7 days after the start.
--   available_time  TIMESTAMP  -  When the end of the stay was known.
--   days            INTEGER    d  3 or 7.
WITH icu_stays AS (
  SELECT
    subject_id,
    stay_id,
    min(hadm_id)            AS hadm_id,
    min(start_time)         AS start_time,
    max(end_time)           AS end_time,
    max(end_available_time) AS end_available_time
  FROM stays
  WHERE kind = 'icu'
  GROUP BY subject_id, stay_id
)
SELECT
  s.subject_id,
  s.hadm_id,
  s.stay_id,
  s.start_time + to_days(n.days) AS time,
  s.end_available_time           AS available_time,
  n.days
FROM icu_stays AS s
LEFT JOIN patients AS p ON p.subject_id = s.subject_id
CROSS JOIN (VALUES (3), (7)) AS n (days)
WHERE s.end_time IS NOT NULL AND least(s.end_time, p.death_time) > s.start_time + to_days(n.days)
