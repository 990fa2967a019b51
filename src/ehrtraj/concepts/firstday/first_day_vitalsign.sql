-- Vital signs of the first day of an ICU stay, from six hours before its start.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/firstday/first_day_vitalsign.sql
-- needs: vitalsign
-- row: stay_id
-- mimic-code: without start, without end
-- differs: They drop a temperature in Fahrenheit under the item in Celsius; vitalsign converts it.
-- columns:
--   subject_id        BIGINT     -       Patient.
--   stay_id           BIGINT     -       ICU stay.
--   start             TIMESTAMP  -       Start of the stay.
--   end               TIMESTAMP  -       24 hours after the start of the stay.
--   available_time    TIMESTAMP  -       When the first day was over and all its values were known.
--   heart_rate_min    DOUBLE     /min    Lowest heart rate.
--   heart_rate_max    DOUBLE     /min    Highest heart rate.
--   heart_rate_mean   DOUBLE     /min    Mean heart rate.
--   sbp_min           DOUBLE     mm[Hg]  Lowest systolic blood pressure.
--   sbp_max           DOUBLE     mm[Hg]  Highest systolic blood pressure.
--   sbp_mean          DOUBLE     mm[Hg]  Mean systolic blood pressure.
--   dbp_min           DOUBLE     mm[Hg]  Lowest diastolic blood pressure.
--   dbp_max           DOUBLE     mm[Hg]  Highest diastolic blood pressure.
--   dbp_mean          DOUBLE     mm[Hg]  Mean diastolic blood pressure.
--   mbp_min           DOUBLE     mm[Hg]  Lowest mean blood pressure.
--   mbp_max           DOUBLE     mm[Hg]  Highest mean blood pressure.
--   mbp_mean          DOUBLE     mm[Hg]  Mean mean blood pressure.
--   resp_rate_min     DOUBLE     /min    Lowest respiratory rate.
--   resp_rate_max     DOUBLE     /min    Highest respiratory rate.
--   resp_rate_mean    DOUBLE     /min    Mean respiratory rate.
--   temperature_min   DOUBLE     Cel     Lowest body temperature.
--   temperature_max   DOUBLE     Cel     Highest body temperature.
--   temperature_mean  DOUBLE     Cel     Mean body temperature.
--   spo2_min          DOUBLE     %       Lowest oxygen saturation by pulse oximetry.
--   spo2_max          DOUBLE     %       Highest oxygen saturation by pulse oximetry.
--   spo2_mean         DOUBLE     %       Mean oxygen saturation by pulse oximetry.
--   glucose_min       DOUBLE     mg/dL   Lowest glucose, at the bedside or from the laboratory, as charted.
--   glucose_max       DOUBLE     mg/dL   Highest glucose, at the bedside or from the laboratory, as charted.
--   glucose_mean      DOUBLE     mg/dL   Mean glucose, at the bedside or from the laboratory, as charted.
WITH
days AS (
  SELECT subject_id, stay_id, start_time, start_time + INTERVAL 24 HOURS AS end_time, available_time
  FROM stays
  WHERE kind = 'icu'
)
SELECT
  d.subject_id,
  d.stay_id,
  d.start_time                                                  AS start,
  d.end_time                                                    AS "end",
  greatest(d.end_time, d.available_time, max(v.available_time)) AS available_time,
  min(v.heart_rate)                                             AS heart_rate_min,
  max(v.heart_rate)                                             AS heart_rate_max,
  avg(v.heart_rate)                                             AS heart_rate_mean,
  min(v.sbp)                                                    AS sbp_min,
  max(v.sbp)                                                    AS sbp_max,
  avg(v.sbp)                                                    AS sbp_mean,
  min(v.dbp)                                                    AS dbp_min,
  max(v.dbp)                                                    AS dbp_max,
  avg(v.dbp)                                                    AS dbp_mean,
  min(v.mbp)                                                    AS mbp_min,
  max(v.mbp)                                                    AS mbp_max,
  avg(v.mbp)                                                    AS mbp_mean,
  min(v.resp_rate)                                              AS resp_rate_min,
  max(v.resp_rate)                                              AS resp_rate_max,
  avg(v.resp_rate)                                              AS resp_rate_mean,
  min(v.temperature)                                            AS temperature_min,
  max(v.temperature)                                            AS temperature_max,
  avg(v.temperature)                                            AS temperature_mean,
  min(v.spo2)                                                   AS spo2_min,
  max(v.spo2)                                                   AS spo2_max,
  avg(v.spo2)                                                   AS spo2_mean,
  min(v.glucose)                                                AS glucose_min,
  max(v.glucose)                                                AS glucose_max,
  avg(v.glucose)                                                AS glucose_mean
FROM days AS d
LEFT JOIN vitalsign AS v
  ON
    v.stay_id = d.stay_id
    AND v.time >= d.start_time - INTERVAL 6 HOURS
    AND v.time <= d.end_time
GROUP BY d.subject_id, d.stay_id, d.start_time, d.end_time, d.available_time
