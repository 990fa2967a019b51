-- Intracranial pressure, at each time at which it was charted: the highest plausible value.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/icp.sql
-- row: subject_id, stay_id, time
-- mimic-code: charttime = time
-- columns:
--   subject_id      BIGINT     -       Patient.
--   stay_id         BIGINT     -       ICU stay.
--   time            TIMESTAMP  -       When it was charted.
--   available_time  TIMESTAMP  -       When all values of the row were known.
--   icp             DOUBLE     mm[Hg]  Intracranial pressure; null if no value is plausible.
SELECT
  subject_id,
  stay_id,
  time,
  max(available_time)                                         AS available_time,
  max(CASE WHEN plausible_icp(concept, value) THEN value END) AS icp
FROM vitals
WHERE event_type = 'CHART' AND concept = 'icp'
GROUP BY subject_id, stay_id, event_time, time
