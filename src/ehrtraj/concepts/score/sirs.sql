-- Criteria of the systemic inflammatory response syndrome (SIRS) on the first day of a stay in intensive care, by the worst
-- values. Missing components count 0 points.
--
-- source: Bone RC et al. Chest 1992;101:1644-1655, doi:10.1378/chest.101.6.1644
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/score/sirs.sql
-- needs: first_day_vitalsign, first_day_bg_art, first_day_lab
-- row: stay_id
-- mimic-code: without start, without end
-- columns:
--   subject_id        BIGINT     -        Patient.
--   hadm_id           BIGINT     -        Admission.
--   stay_id           BIGINT     -        ICU stay.
--   start             TIMESTAMP  -        When the stay began.
--   end               TIMESTAMP  -        24 hours later.
--   available_time    TIMESTAMP  -        When the day had ended and all values were known.
--   sirs              INTEGER    {score}  Number of criteria, 0 to 4.
--   temp_score        INTEGER    {score}  1 for the temperature.
--   heart_rate_score  INTEGER    {score}  1 for the heart rate.
--   resp_score        INTEGER    {score}  1 for the respiratory rate or carbon dioxide.
--   wbc_score         INTEGER    {score}  1 for white blood cells or bands.
WITH scored AS (
  SELECT
    s.subject_id,
    s.hadm_id,
    s.stay_id,
    s.start_time                                                                                     AS start,
    s.start_time + INTERVAL 24 HOURS                                                                 AS "end",
    greatest(
      s.available_time, s.start_time + INTERVAL 24 HOURS, v.available_time, b.available_time, l.available_time
    )                                                                                                AS available_time,
    greatest(sirs_temperature_points(v.temperature_min), sirs_temperature_points(v.temperature_max)) AS temp_score,
    sirs_heart_rate_points(v.heart_rate_max)
      AS heart_rate_score,
    greatest(sirs_resp_rate_points(v.resp_rate_max), sirs_paco2_points(b.pco2_min))                  AS resp_score,
    greatest(sirs_wbc_points(l.wbc_min), sirs_wbc_points(l.wbc_max), sirs_bands_points(l.bands_max)) AS wbc_score
  FROM stays AS s
  LEFT JOIN first_day_vitalsign AS v ON v.stay_id = s.stay_id
  LEFT JOIN first_day_bg_art AS b ON b.stay_id = s.stay_id
  LEFT JOIN first_day_lab AS l ON l.stay_id = s.stay_id
  WHERE s.kind = 'icu'
)
SELECT
  *,
  coalesce(temp_score, 0) + coalesce(heart_rate_score, 0) + coalesce(resp_score, 0) + coalesce(wbc_score, 0) AS sirs
FROM scored
