-- Body weight, as charted in intensive care at admission and daily.
--
-- The row of the latest `time` is the weight that is known. `weight_durations` has the intervals.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/demographics/weight_durations.sql
-- row: stay_id, time, weight_type, weight
-- columns:
--   subject_id      BIGINT     -   Patient.
--   stay_id         BIGINT     -   ICU stay.
--   time            TIMESTAMP  -   When it was charted.
--   available_time  TIMESTAMP  -   When it was known.
--   weight          DOUBLE     kg  Body weight.
--   weight_type     VARCHAR    -   `admit` for the weight at admission, `daily` for a later one.
SELECT
  subject_id,
  stay_id,
  time,
  max(available_time)                                       AS available_time,
  round(value, 3)                                           AS weight,
  CASE method WHEN 'admission' THEN 'admit' ELSE method END AS weight_type
FROM vitals
WHERE event_type = 'CHART' AND concept = 'weight' AND stay_id IS NOT NULL AND plausible_body(concept, value)
GROUP BY ALL
