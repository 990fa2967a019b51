-- Quick SOFA (qSOFA), for each hour of a stay in intensive care: the worst values of the hour, their points, and the points
-- of the last 24 hours.
--
-- Hours and windows are those of `sofa`, so that both can be compared. Missing components count 0 points. The Glasgow Coma
-- Scale of an intubated patient is 15 (see `gcs`).
--
-- source: Seymour CW et al. JAMA 2016;315:762-774, doi:10.1001/jama.2016.0288
-- needs: icustay_hourly, vitalsign, gcs
-- row: stay_id, hr
-- columns:
--   subject_id         BIGINT     -        Patient.
--   stay_id            BIGINT     -        ICU stay.
--   hr                 BIGINT     h        Number of the hour.
--   time               TIMESTAMP  -        End of the hour.
--   available_time     TIMESTAMP  -        When all values of the 24 hours were known.
--   sbp_min            DOUBLE     mm[Hg]   Lowest systolic blood pressure.
--   resp_rate_max      DOUBLE     /min     Highest respiratory rate.
--   gcs_min            DOUBLE     {score}  Lowest Glasgow Coma Scale.
--   sbp_score          INTEGER    {score}  Point for blood pressure; null without values in the hour.
--   resp_rate_score    INTEGER    {score}  Point for the respiratory rate.
--   gcs_score          INTEGER    {score}  Point for the Glasgow Coma Scale.
--   sbp_24hours        INTEGER    {score}  Highest point for blood pressure in 24 hours.
--   resp_rate_24hours  INTEGER    {score}  Highest point for the respiratory rate in 24 hours.
--   gcs_24hours        INTEGER    {score}  Highest point for the Glasgow Coma Scale in 24 hours.
--   qsofa_24hours      INTEGER    {score}  Sum of the points of 24 hours, 0 to 3.
WITH
charted AS (
  SELECT stay_id, time, available_time, sbp, resp_rate, NULL AS gcs
  FROM vitalsign
  UNION ALL
  SELECT stay_id, time, available_time, NULL, NULL, gcs
  FROM gcs
),
worst AS (
  SELECT
    stay_id,
    date_trunc('hour', time - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR AS hour,
    max(available_time)                                                 AS available_time,
    min(sbp)                                                            AS sbp_min,
    max(resp_rate)                                                      AS resp_rate_max,
    min(gcs)                                                            AS gcs_min
  FROM charted
  GROUP BY stay_id, hour
),
scored AS (
  SELECT
    h.subject_id,
    h.stay_id,
    h.hr,
    h.time,
    greatest(h.available_time, w.available_time) AS available_time,
    w.sbp_min,
    w.resp_rate_max,
    w.gcs_min,
    qsofa_sbp_points(w.sbp_min)                  AS sbp_score,
    qsofa_resp_rate_points(w.resp_rate_max)      AS resp_rate_score,
    qsofa_gcs_points(w.gcs_min)                  AS gcs_score
  FROM icustay_hourly AS h
  LEFT JOIN worst AS w ON w.stay_id = h.stay_id AND w.hour = h.time
),
summed AS (
  SELECT
    * REPLACE (max(available_time) OVER day AS available_time),
    coalesce(max(sbp_score) OVER day, 0)       AS sbp_24hours,
    coalesce(max(resp_rate_score) OVER day, 0) AS resp_rate_24hours,
    coalesce(max(gcs_score) OVER day, 0)       AS gcs_24hours
  FROM scored
  WINDOW day AS (PARTITION BY stay_id ORDER BY hr ROWS BETWEEN 23 PRECEDING AND CURRENT ROW)
)
SELECT
  *,
  sbp_24hours + resp_rate_24hours + gcs_24hours AS qsofa_24hours
FROM summed
WHERE hr >= 0
