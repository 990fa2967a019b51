-- Vital signs charted in intensive care: for each time, the mean of the plausible values.
--
-- Blood pressure is the mean of all methods; the columns with _ni contain the noninvasive ones alone. A temperature in
-- Fahrenheit is converted, whatever the item.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/vitalsign.sql
-- row: subject_id, stay_id, time
-- mimic-code: charttime = time
-- differs: They drop a temperature in Fahrenheit under the item in Celsius; it is converted here (flag unit_inferred).
-- columns:
--   subject_id        BIGINT     -       Patient.
--   stay_id           BIGINT     -       ICU stay.
--   time              TIMESTAMP  -       When it was charted.
--   available_time    TIMESTAMP  -       When all values of the row were known.
--   heart_rate        DOUBLE     /min    Heart rate.
--   sbp               DOUBLE     mm[Hg]  Systolic blood pressure.
--   dbp               DOUBLE     mm[Hg]  Diastolic blood pressure.
--   mbp               DOUBLE     mm[Hg]  Mean blood pressure.
--   sbp_ni            DOUBLE     mm[Hg]  Systolic blood pressure, noninvasive.
--   dbp_ni            DOUBLE     mm[Hg]  Diastolic blood pressure, noninvasive.
--   mbp_ni            DOUBLE     mm[Hg]  Mean blood pressure, noninvasive.
--   resp_rate         DOUBLE     /min    Respiratory rate.
--   temperature       DOUBLE     Cel     Body temperature.
--   temperature_site  VARCHAR    -       Where the temperature was measured.
--   spo2              DOUBLE     %       Oxygen saturation by pulse oximetry.
--   glucose           DOUBLE     mg/dL   Glucose, at the bedside or from the laboratory, as charted.
WITH charted AS (
  SELECT
    subject_id,
    stay_id,
    time,
    event_time,
    available_time,
    concept,
    method,
    text_value,
    CASE
      WHEN as_mimic_code() AND concept = 'temperature' AND unit_inferred THEN NULL
      WHEN plausible_vitalsign(concept, value) THEN value
    END AS value
  FROM vitals
  WHERE
    event_type = 'CHART'
    AND stay_id IS NOT NULL
    AND concept IN (
      'heart_rate', 'sbp', 'dbp', 'mbp', 'resp_rate', 'temperature', 'temperature_site', 'spo2', 'glucose'
    )
)
SELECT
  subject_id,
  stay_id,
  time,
  max(available_time)                                            AS available_time,
  avg(value) FILTER (concept = 'heart_rate')                     AS heart_rate,
  avg(value) FILTER (concept = 'sbp')                            AS sbp,
  avg(value) FILTER (concept = 'dbp')                            AS dbp,
  avg(value) FILTER (concept = 'mbp')                            AS mbp,
  avg(value) FILTER (concept = 'sbp' AND method = 'noninvasive') AS sbp_ni,
  avg(value) FILTER (concept = 'dbp' AND method = 'noninvasive') AS dbp_ni,
  avg(value) FILTER (concept = 'mbp' AND method = 'noninvasive') AS mbp_ni,
  avg(value) FILTER (concept = 'resp_rate')                      AS resp_rate,
  round(avg(value) FILTER (concept = 'temperature'), 2)          AS temperature,
  max(text_value) FILTER (concept = 'temperature_site')          AS temperature_site,
  avg(value) FILTER (concept = 'spo2')                           AS spo2,
  avg(value) FILTER (concept = 'glucose')                        AS glucose
FROM charted
GROUP BY subject_id, stay_id, event_time, time
