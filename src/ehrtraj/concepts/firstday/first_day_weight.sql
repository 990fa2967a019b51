-- Weight on the first day of an ICU stay: weights that were charted by its end.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/firstday/first_day_weight.sql
-- needs: body_weight, weight_durations
-- row: stay_id
-- mimic-code: without start, without end
-- differs: They include weights that were charted later and hold from the start of the stay, and count the
--   first weight twice if it is not the one at admission.
-- columns:
--   subject_id      BIGINT     -   Patient.
--   stay_id         BIGINT     -   ICU stay.
--   start           TIMESTAMP  -   Start of the stay.
--   end             TIMESTAMP  -   24 hours after the start of the stay.
--   available_time  TIMESTAMP  -   When the first day was over and all its values were known.
--   weight_admit    DOUBLE     kg  Weight at admission.
--   weight          DOUBLE     kg  Mean weight.
--   weight_min      DOUBLE     kg  Lowest weight.
--   weight_max      DOUBLE     kg  Highest weight.
WITH
days AS (
  SELECT subject_id, stay_id, start_time, start_time + INTERVAL 24 HOURS AS end_time, available_time
  FROM stays
  WHERE kind = 'icu'
),
weights AS (
  SELECT stay_id, time, available_time, weight, weight_type
  FROM body_weight
  WHERE NOT as_mimic_code()
  UNION ALL
  SELECT stay_id, start, available_time, weight, weight_type
  FROM weight_durations
  WHERE as_mimic_code()
)
SELECT
  d.subject_id,
  d.stay_id,
  d.start_time                                                  AS start,
  d.end_time                                                    AS "end",
  greatest(d.end_time, d.available_time, max(v.available_time)) AS available_time,
  avg(v.weight) FILTER (v.weight_type = 'admit')                AS weight_admit,
  avg(v.weight)                                                 AS weight,
  min(v.weight)                                                 AS weight_min,
  max(v.weight)                                                 AS weight_max
FROM days AS d
LEFT JOIN weights AS v
  ON
    v.stay_id = d.stay_id
    AND v.time <= d.end_time
GROUP BY d.subject_id, d.stay_id, d.start_time, d.end_time, d.available_time
