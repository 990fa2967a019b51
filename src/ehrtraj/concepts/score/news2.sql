-- National Early Warning Score (NEWS2), for each hour of a stay in intensive care, by the last values of 12 hours.
--
-- 12 hours is the longest interval between observations that the score allows. A score needs all values; without a charted
-- support of breathing, the patient breathes air. Saturation is scored on scale 1, since a target of 88 to 92 % is not
-- recorded. Every score below 15 on the Glasgow Coma Scale counts as an altered consciousness.
--
-- source: Royal College of Physicians. National Early Warning Score (NEWS) 2. London: RCP 2017, ISBN 978-1-86016-682-2
-- needs: icu_hourly
-- row: stay_id, hr
-- columns:
--   subject_id         BIGINT     -        Patient.
--   stay_id            BIGINT     -        ICU stay.
--   hr                 BIGINT     h        Number of the hour.
--   time               TIMESTAMP  -        End of the hour.
--   available_time     TIMESTAMP  -        When all values were known.
--   resp_rate_score    INTEGER    {score}  Points for the respiratory rate.
--   spo2_score         INTEGER    {score}  Points for the oxygen saturation.
--   oxygen_score       INTEGER    {score}  Points for oxygen.
--   sbp_score          INTEGER    {score}  Points for systolic blood pressure.
--   heart_rate_score   INTEGER    {score}  Points for the heart rate.
--   gcs_score          INTEGER    {score}  Points for consciousness.
--   temperature_score  INTEGER    {score}  Points for the temperature.
--   news2              INTEGER    {score}  Score, 0 to 20; null if a value is missing.
WITH
last_values AS (
  SELECT
    subject_id,
    stay_id,
    hr,
    time,
    max(available_time) OVER half_day                               AS available_time,
    last_value(resp_rate IGNORE NULLS) OVER half_day                AS resp_rate,
    last_value(spo2 IGNORE NULLS) OVER half_day                     AS spo2,
    last_value(sbp IGNORE NULLS) OVER half_day                      AS sbp,
    last_value(heart_rate IGNORE NULLS) OVER half_day               AS heart_rate,
    last_value(gcs IGNORE NULLS) OVER half_day                      AS gcs,
    last_value(temperature IGNORE NULLS) OVER half_day              AS temperature,
    CAST(coalesce(ventilation_status, 'None') <> 'None' AS INTEGER) AS oxygen
  FROM icu_hourly
  WINDOW half_day AS (PARTITION BY stay_id ORDER BY hr ROWS BETWEEN 11 PRECEDING AND CURRENT ROW)
),
scored AS (
  SELECT
    subject_id,
    stay_id,
    hr,
    time,
    available_time,
    news2_resp_rate_points(resp_rate)     AS resp_rate_score,
    news2_spo2_points(spo2)               AS spo2_score,
    news2_oxygen_points(oxygen)           AS oxygen_score,
    news2_sbp_points(sbp)                 AS sbp_score,
    news2_heart_rate_points(heart_rate)   AS heart_rate_score,
    news2_gcs_points(gcs)                 AS gcs_score,
    news2_temperature_points(temperature) AS temperature_score
  FROM last_values
)
SELECT
  *,
  resp_rate_score + spo2_score + oxygen_score + sbp_score + heart_rate_score + gcs_score + temperature_score AS news2
FROM scored
