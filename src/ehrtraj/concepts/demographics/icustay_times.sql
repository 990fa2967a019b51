-- First and last charted heart rate of each stay in intensive care: when the patient really was there.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/demographics/icustay_times.sql
-- row: stay_id
-- mimic-code: intime_hr = start, outtime_hr = end
-- differs: Only heart rates known 24 hours after the end of the stay count, so that a row is final at that time.
-- differs: A stay without a heart rate or an end has no row.
-- columns:
--   subject_id      BIGINT     -  Patient.
--   hadm_id         BIGINT     -  Admission.
--   stay_id         BIGINT     -  ICU stay.
--   start           TIMESTAMP  -  First heart rate.
--   end             TIMESTAMP  -  Last heart rate.
--   available_time  TIMESTAMP  -  24 hours after the end of the stay was known.
WITH
icu_stays AS (
  SELECT subject_id, hadm_id, stay_id, end_available_time + INTERVAL 24 HOURS AS final_time
  FROM stays
  WHERE kind = 'icu'
),
heart_rates AS (
  SELECT stay_id, time, available_time
  FROM vitals
  WHERE event_type = 'CHART' AND concept = 'heart_rate'
)
SELECT
  s.subject_id,
  s.hadm_id,
  s.stay_id,
  min(h.time)  AS start,
  max(h.time)  AS "end",
  s.final_time AS available_time
FROM icu_stays AS s
LEFT JOIN heart_rates AS h ON h.stay_id = s.stay_id AND (h.available_time <= s.final_time OR as_mimic_code())
GROUP BY s.subject_id, s.hadm_id, s.stay_id, s.final_time
HAVING count(h.time) > 0 OR as_mimic_code()
