-- Hours of each stay in intensive care, from 24 hours before the first charted heart rate to the last one.
--
-- Hour 0 ends at the full hour after the first heart rate, or at the heart rate itself if it is on the hour. An hour
-- exists once a heart rate is charted in it or in a later one, so that hours of a stay appear while it is running.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/demographics/icustay_hourly.sql and icustay_times.sql
-- row: stay_id, hr
-- mimic-code: endtime = time, without subject_id
-- columns:
--   subject_id      BIGINT     -  Patient.
--   stay_id         BIGINT     -  ICU stay.
--   hr              BIGINT     h  Number of the hour.
--   time            TIMESTAMP  -  End of the hour.
--   available_time  TIMESTAMP  -  When the hour had ended and a heart rate had shown that the stay lasted so long.
WITH
heart_rates AS (
  SELECT
    subject_id,
    stay_id,
    time,
    min(available_time) AS available_time
  FROM vitals
  WHERE event_type = 'CHART' AND concept = 'heart_rate' AND stay_id IS NOT NULL
  GROUP BY subject_id, stay_id, time
),
since_first AS (
  SELECT
    subject_id,
    stay_id,
    available_time,
    first_value(time) OVER w                          AS first_time,
    first_value(available_time) OVER w                AS first_available_time,
    date_diff('hour', first_value(time) OVER w, time) AS hr
  FROM heart_rates
  WINDOW w AS (PARTITION BY stay_id ORDER BY time)
),
hours AS (
  SELECT
    subject_id,
    stay_id,
    first_time,
    first_available_time,
    hr,
    min(available_time) AS available_time
  FROM since_first
  GROUP BY subject_id, stay_id, first_time, first_available_time, hr
),
proven AS (
  SELECT
    * EXCLUDE (available_time),
    date_trunc('hour', first_time - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR AS first_end,
    coalesce(lag(hr) OVER w, -25) + 1                                         AS from_hr,
    min(available_time) OVER (
      PARTITION BY stay_id ORDER BY hr ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    )                                                                         AS available_time
  FROM hours
  WINDOW w AS (PARTITION BY stay_id ORDER BY hr)
),
grid AS (
  SELECT
    subject_id,
    stay_id,
    first_end,
    greatest(first_available_time, available_time) AS available_time,
    unnest(generate_series(from_hr, hr))           AS hr
  FROM proven
)
SELECT
  subject_id,
  stay_id,
  hr,
  first_end + to_hours(hr)                           AS time,
  greatest(available_time, first_end + to_hours(hr)) AS available_time
FROM grid
