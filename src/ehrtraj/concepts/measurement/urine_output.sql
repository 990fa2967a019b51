-- Urine at each time at which any was charted. Irrigant that went in is subtracted, so that a sum can be negative.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/urine_output.sql
-- row: stay_id, time
-- mimic-code: charttime = time, without subject_id
-- columns:
--   subject_id      BIGINT     -   Patient.
--   stay_id         BIGINT     -   ICU stay.
--   time            TIMESTAMP  -   When it was charted.
--   available_time  TIMESTAMP  -   When all volumes of the row were known.
--   urineoutput     DOUBLE     mL  Volume of urine.
SELECT
  subject_id,
  stay_id,
  time,
  max(available_time)                                                     AS available_time,
  sum(CASE concept WHEN 'gu_irrigant_in' THEN -abs(value) ELSE value END) AS urineoutput
FROM outputs
WHERE concept IN ('urine', 'urine_with_irrigant', 'gu_irrigant_in')
GROUP BY subject_id, stay_id, event_time, time
