-- Urine per kilogram and hour over the 6, 12 and 24 hours that KDIGO's criteria need, at each time at which urine was
-- charted.
--
-- A measurement covers the time since the one before, and the first one of a stay an hour. A rate is null if measurements
-- cover less than the 6, 12 or 24 hours, and the rate over 6 hours also if they cover 12 hours or more.
--
-- source: KDIGO Clinical Practice Guideline for Acute Kidney Injury. Kidney Int Suppl 2012;2:1-138, section 2.1,
--   doi:10.1038/kisup.2012.1
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/organfailure/kdigo_uo.sql
-- needs: urine_output, weight_since
-- row: stay_id, time
-- mimic-code: charttime = time, without subject_id
-- columns:
--   subject_id        BIGINT     -        Patient.
--   stay_id           BIGINT     -        ICU stay.
--   time              TIMESTAMP  -        When urine was charted.
--   available_time    TIMESTAMP  -        When all volumes and the weight were known.
--   weight            DOUBLE     kg       Body weight.
--   urineoutput_6hr   DOUBLE     mL       Volume of the last 6 hours.
--   urineoutput_12hr  DOUBLE     mL       Volume of the last 12 hours.
--   urineoutput_24hr  DOUBLE     mL       Volume of the last 24 hours.
--   uo_rt_6hr         DOUBLE     mL/kg/h  Rate over 6 hours.
--   uo_rt_12hr        DOUBLE     mL/kg/h  Rate over 12 hours.
--   uo_rt_24hr        DOUBLE     mL/kg/h  Rate over 24 hours.
--   uo_tm_6hr         DOUBLE     h        Hours that the measurements of the last 6 hours cover.
--   uo_tm_12hr        DOUBLE     h        Hours that the measurements of the last 12 hours cover.
--   uo_tm_24hr        DOUBLE     h        Hours that the measurements of the last 24 hours cover.
WITH
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
    subject_id,
    stay_id,
    time,
    urineoutput,
    coalesce(date_diff('second', lag(time) OVER w, time) / 3600, 1) AS hours,
    greatest(available_time, lag(available_time) OVER w)            AS available_time
  FROM measured
  WINDOW w AS (PARTITION BY stay_id ORDER BY time)
),
totals AS (
  SELECT
    subject_id,
    stay_id,
    time,
    max(available_time) OVER h24  AS available_time,
    sum(urineoutput) OVER h6      AS urineoutput_6hr,
    sum(urineoutput) OVER h12     AS urineoutput_12hr,
    sum(urineoutput) OVER h24     AS urineoutput_24hr,
    round(sum(hours) OVER h6, 6)  AS uo_tm_6hr,
    round(sum(hours) OVER h12, 6) AS uo_tm_12hr,
    round(sum(hours) OVER h24, 6) AS uo_tm_24hr
  FROM covered
  WINDOW
    h6 AS (PARTITION BY stay_id ORDER BY time RANGE BETWEEN INTERVAL 6 HOURS PRECEDING AND CURRENT ROW),
    h12 AS (PARTITION BY stay_id ORDER BY time RANGE BETWEEN INTERVAL 12 HOURS PRECEDING AND CURRENT ROW),
    h24 AS (PARTITION BY stay_id ORDER BY time RANGE BETWEEN INTERVAL 24 HOURS PRECEDING AND CURRENT ROW)
),
weighed AS (
  SELECT
    u.* REPLACE (greatest(u.available_time, w.available_time, s.available_time) AS available_time),
    CASE WHEN s.end_time IS NULL OR u.time < s.end_time + INTERVAL 2 HOURS THEN w.weight END AS weight
  FROM totals AS u
  JOIN stays AS s ON s.kind = 'icu' AND s.stay_id = u.stay_id
  ASOF LEFT JOIN weight_since AS w ON w.stay_id = u.stay_id AND w.time <= u.time
)
SELECT
  subject_id,
  stay_id,
  time,
  available_time,
  weight,
  urineoutput_6hr,
  urineoutput_12hr,
  urineoutput_24hr,
  uo_tm_6hr,
  uo_tm_12hr,
  uo_tm_24hr,
  CASE WHEN uo_tm_6hr >= 6 AND uo_tm_6hr < 12 THEN round(urineoutput_6hr / weight / uo_tm_6hr, 4) END AS uo_rt_6hr,
  CASE WHEN uo_tm_12hr >= 12 THEN round(urineoutput_12hr / weight / uo_tm_12hr, 4) END                AS uo_rt_12hr,
  CASE WHEN uo_tm_24hr >= 24 THEN round(urineoutput_24hr / weight / uo_tm_24hr, 4) END                AS uo_rt_24hr
FROM weighed
