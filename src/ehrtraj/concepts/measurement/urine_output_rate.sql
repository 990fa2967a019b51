-- Urine per kilogram and hour over the last 6, 12 and 24 hours, at each time at which urine was charted.
--
-- A measurement covers the time since the one before, and the first one that since the first heart rate of the stay. It
-- describes its last hour, so those of the last 5, 11 and 23 hours count. A rate is null if measurements cover less than
-- the 6, 12 or 24 hours.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/urine_output_rate.sql
-- needs: urine_output, weight_since
-- row: stay_id, time
-- mimic-code: charttime = time, without subject_id
-- differs: They count boundaries of clock hours (03:50 is 5 hours before 08:59), so that measurements of up to an hour
--   earlier are included in 6 and 12 hours; here it is the hours that passed.
-- columns:
--   subject_id        BIGINT     -         Patient.
--   stay_id           BIGINT     -         ICU stay.
--   time              TIMESTAMP  -         When urine was charted.
--   available_time    TIMESTAMP  -         When all volumes and the weight were known.
--   weight            DOUBLE     kg        Body weight.
--   uo                DOUBLE     mL        Volume of urine at that time.
--   urineoutput_6hr   DOUBLE     mL        Volume of the last 6 hours.
--   urineoutput_12hr  DOUBLE     mL        Volume of the last 12 hours.
--   urineoutput_24hr  DOUBLE     mL        Volume of the last 24 hours.
--   uo_mlkghr_6hr     DOUBLE     mL/kg/h   Rate over 6 hours.
--   uo_mlkghr_12hr    DOUBLE     mL/kg/h   Rate over 12 hours.
--   uo_mlkghr_24hr    DOUBLE     mL/kg/h   Rate over 24 hours.
--   uo_tm_6hr         DOUBLE     h         Hours that the measurements of the last 6 hours cover.
--   uo_tm_12hr        DOUBLE     h         Hours that the measurements of the last 12 hours cover.
--   uo_tm_24hr        DOUBLE     h         Hours that the measurements of the last 24 hours cover.
WITH
icu AS (
  SELECT stay_id, start_time, end_time, available_time FROM stays WHERE kind = 'icu'
),
monitored AS (
  SELECT v.stay_id, min(struct_pack(v.time, v.available_time)) AS first_heart_rate
  FROM vitals AS v
  JOIN icu ON icu.stay_id = v.stay_id
  WHERE
    v.concept = 'heart_rate'
    AND v.event_type = 'CHART'
    AND v.time > icu.start_time - INTERVAL 1 MONTH
    AND (icu.end_time IS NULL OR v.time < icu.end_time + INTERVAL 1 MONTH)
  GROUP BY v.stay_id
),
measured AS (
  SELECT
    subject_id,
    stay_id,
    time,
    max(available_time) AS available_time,
    sum(urineoutput)    AS urineoutput
  FROM urine_output
  GROUP BY subject_id, stay_id, time
),
covered AS (
  SELECT
    u.subject_id,
    u.stay_id,
    u.time,
    u.urineoutput,
    INTERVAL 5 HOURS
    + CASE WHEN as_mimic_code() THEN u.time - date_trunc('hour', u.time) ELSE INTERVAL 0 HOURS END AS span_6,
    INTERVAL 11 HOURS
    + CASE WHEN as_mimic_code() THEN u.time - date_trunc('hour', u.time) ELSE INTERVAL 0 HOURS END AS span_12,
    date_diff('minute', lag(u.time, 1, m.first_heart_rate['time']) OVER w, u.time)
      AS minutes,
    greatest(u.available_time, lag(u.available_time) OVER w, m.first_heart_rate['available_time'])
      AS available_time
  FROM measured AS u
  JOIN monitored AS m ON m.stay_id = u.stay_id
  WINDOW w AS (PARTITION BY u.stay_id ORDER BY u.time)
),
totals AS (
  SELECT
    subject_id,
    stay_id,
    time,
    max(available_time) OVER h24         AS available_time,
    urineoutput,
    sum(urineoutput) OVER h6             AS urine_6,
    sum(urineoutput) OVER h12            AS urine_12,
    sum(urineoutput) OVER h24            AS urine_24,
    round(sum(minutes) OVER h6 / 60, 6)  AS hours_6,
    round(sum(minutes) OVER h12 / 60, 6) AS hours_12,
    round(sum(minutes) OVER h24 / 60, 6) AS hours_24
  FROM covered
  WINDOW
    h6 AS (PARTITION BY stay_id ORDER BY time RANGE BETWEEN span_6 PRECEDING AND CURRENT ROW),
    h12 AS (PARTITION BY stay_id ORDER BY time RANGE BETWEEN span_12 PRECEDING AND CURRENT ROW),
    h24 AS (PARTITION BY stay_id ORDER BY time RANGE BETWEEN INTERVAL 23 HOURS PRECEDING AND CURRENT ROW)
)
SELECT
  u.subject_id,
  u.stay_id,
  u.time,
  greatest(u.available_time, w.available_time, icu.available_time)                        AS available_time,
  CASE WHEN u.time <= coalesce(icu.end_time, u.time) + INTERVAL 2 HOURS THEN w.weight END AS weight,
  u.urineoutput                                                                           AS uo,
  u.urine_6                                                                               AS urineoutput_6hr,
  u.urine_12                                                                              AS urineoutput_12hr,
  u.urine_24                                                                              AS urineoutput_24hr,
  CASE WHEN u.hours_6 >= 6 THEN round(u.urine_6 / weight / u.hours_6, 4) END              AS uo_mlkghr_6hr,
  CASE WHEN u.hours_12 >= 12 THEN round(u.urine_12 / weight / u.hours_12, 4) END          AS uo_mlkghr_12hr,
  CASE WHEN u.hours_24 >= 24 THEN round(u.urine_24 / weight / u.hours_24, 4) END          AS uo_mlkghr_24hr,
  round(u.hours_6, 2)                                                                     AS uo_tm_6hr,
  round(u.hours_12, 2)                                                                    AS uo_tm_12hr,
  round(u.hours_24, 2)                                                                    AS uo_tm_24hr
FROM totals AS u
JOIN icu ON icu.stay_id = u.stay_id
ASOF LEFT JOIN weight_since AS w ON w.stay_id = u.stay_id AND w.time < u.time
