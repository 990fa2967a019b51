-- Hours of each stay in intensive care in a wide table: vital signs, laboratory results, organ support and SOFA.
--
-- Values of the hour are null if none was charted in it. Laboratory results and the support of breathing are carried
-- forward, for 24 and 14 hours. With the clock `available`, a row has what was known at the end of the hour.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/demographics/icustay_hourly.sql (the hours)
-- needs: icustay_hourly, vitalsign, gcs, urine_output, chemistry, complete_blood_count, coagulation, enzyme, bg,
--   ventilation_status, sofa
-- row: stay_id, hr
-- columns:
--   subject_id           BIGINT     -          Patient.
--   hadm_id              BIGINT     -          Admission.
--   stay_id              BIGINT     -          ICU stay.
--   hr                   BIGINT     h          Number of the hour.
--   time                 TIMESTAMP  -          End of the hour.
--   available_time       TIMESTAMP  -          When all values of the row were known.
--   heart_rate           DOUBLE     /min       Heart rate, the last one of the hour.
--   sbp                  DOUBLE     mm[Hg]     Systolic blood pressure, the last one of the hour.
--   dbp                  DOUBLE     mm[Hg]     Diastolic blood pressure, the last one of the hour.
--   mbp                  DOUBLE     mm[Hg]     Mean blood pressure, the last one of the hour.
--   resp_rate            DOUBLE     /min       Respiratory rate, the last one of the hour.
--   temperature          DOUBLE     Cel        Body temperature, the last one of the hour.
--   spo2                 DOUBLE     %          Oxygen saturation by pulse oximetry, the last one of the hour.
--   gcs                  DOUBLE     {score}    Glasgow Coma Scale, the last one of the hour.
--   urineoutput          DOUBLE     mL         Urine of the hour; null if none was charted.
--   sodium               DOUBLE     mmol/L     Sodium, the last one of 24 hours.
--   potassium            DOUBLE     mmol/L     Potassium, the last one of 24 hours.
--   chloride             DOUBLE     mmol/L     Chloride, the last one of 24 hours.
--   bicarbonate          DOUBLE     mmol/L     Bicarbonate, the last one of 24 hours.
--   bun                  DOUBLE     mg/dL      Blood urea nitrogen, the last one of 24 hours.
--   creatinine           DOUBLE     mg/dL      Creatinine, the last one of 24 hours.
--   glucose              DOUBLE     mg/dL      Glucose, the last one of 24 hours.
--   hemoglobin           DOUBLE     g/dL       Hemoglobin, the last one of 24 hours.
--   wbc                  DOUBLE     10*3/uL    White blood cells, the last one of 24 hours.
--   platelet             DOUBLE     10*3/uL    Platelets, the last one of 24 hours.
--   inr                  DOUBLE     {INR}      International normalized ratio, the last one of 24 hours.
--   bilirubin_total      DOUBLE     mg/dL      Total bilirubin, the last one of 24 hours.
--   ph                   DOUBLE     [pH]       pH of blood gases, the last one of 24 hours.
--   pco2                 DOUBLE     mm[Hg]     Carbon dioxide tension, the last one of 24 hours.
--   lactate              DOUBLE     mmol/L     Lactate, the last one of 24 hours.
--   ventilation_status   VARCHAR    -          Support of breathing that was charted last, in 14 hours.
--   rate_norepinephrine  DOUBLE     ug/kg/min  Rate of norepinephrine at the end of the hour.
--   rate_epinephrine     DOUBLE     ug/kg/min  Rate of epinephrine at the end of the hour.
--   rate_dopamine        DOUBLE     ug/kg/min  Rate of dopamine at the end of the hour.
--   rate_dobutamine      DOUBLE     ug/kg/min  Rate of dobutamine at the end of the hour.
--   sofa_24hours         INTEGER    {score}    SOFA of the last 24 hours.
WITH
hours AS (
  SELECT
    h.subject_id,
    s.hadm_id,
    h.stay_id,
    h.hr,
    h.time,
    greatest(h.available_time, s.available_time) AS available_time
  FROM icustay_hourly AS h
  JOIN stays AS s ON s.kind = 'icu' AND s.stay_id = h.stay_id
),
vital AS (
  SELECT
    stay_id,
    date_trunc('hour', time - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR                   AS hour,
    max(available_time)                                                                   AS available_time,
    arg_max(heart_rate, struct_pack(time, heart_rate)) FILTER (heart_rate IS NOT NULL)    AS heart_rate,
    arg_max(sbp, struct_pack(time, sbp)) FILTER (sbp IS NOT NULL)                         AS sbp,
    arg_max(dbp, struct_pack(time, dbp)) FILTER (dbp IS NOT NULL)                         AS dbp,
    arg_max(mbp, struct_pack(time, mbp)) FILTER (mbp IS NOT NULL)                         AS mbp,
    arg_max(resp_rate, struct_pack(time, resp_rate)) FILTER (resp_rate IS NOT NULL)       AS resp_rate,
    arg_max(temperature, struct_pack(time, temperature)) FILTER (temperature IS NOT NULL) AS temperature,
    arg_max(spo2, struct_pack(time, spo2)) FILTER (spo2 IS NOT NULL)                      AS spo2
  FROM vitalsign
  GROUP BY stay_id, hour
),
neurologic AS (
  SELECT
    stay_id,
    date_trunc('hour', time - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR AS hour,
    max(available_time)                                                 AS available_time,
    arg_max(gcs, struct_pack(time, gcs)) FILTER (gcs IS NOT NULL)       AS gcs
  FROM gcs
  GROUP BY stay_id, hour
),
urine AS (
  SELECT
    stay_id,
    date_trunc('hour', time - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR AS hour,
    max(available_time)                                                 AS available_time,
    sum(urineoutput)                                                    AS urineoutput
  FROM urine_output
  GROUP BY stay_id, hour
),
results AS (
  SELECT subject_id, hadm_id, time, available_time, sodium, potassium, chloride, bicarbonate, bun, creatinine, glucose
  FROM chemistry
  UNION ALL BY NAME
  SELECT subject_id, hadm_id, time, available_time, hemoglobin, wbc, platelet
  FROM complete_blood_count
  UNION ALL BY NAME
  SELECT subject_id, hadm_id, time, available_time, inr
  FROM coagulation
  UNION ALL BY NAME
  SELECT subject_id, hadm_id, time, available_time, bilirubin_total
  FROM enzyme
  UNION ALL BY NAME
  SELECT subject_id, hadm_id, time, available_time, ph, pco2, lactate
  FROM bg
),
laboratory AS (
  SELECT
    h.stay_id,
    h.time                                                                            AS hour,
    max(r.available_time)
      AS available_time,
    arg_max(r.sodium, struct_pack(r.time, r.sodium)) FILTER (r.sodium IS NOT NULL)    AS sodium,
    arg_max(r.potassium, struct_pack(r.time, r.potassium)) FILTER (r.potassium IS NOT NULL)
      AS potassium,
    arg_max(r.chloride, struct_pack(r.time, r.chloride)) FILTER (r.chloride IS NOT NULL)
      AS chloride,
    arg_max(r.bicarbonate, struct_pack(r.time, r.bicarbonate)) FILTER (r.bicarbonate IS NOT NULL)
      AS bicarbonate,
    arg_max(r.bun, struct_pack(r.time, r.bun)) FILTER (r.bun IS NOT NULL)             AS bun,
    arg_max(r.creatinine, struct_pack(r.time, r.creatinine)) FILTER (r.creatinine IS NOT NULL)
      AS creatinine,
    arg_max(r.glucose, struct_pack(r.time, r.glucose)) FILTER (r.glucose IS NOT NULL)
      AS glucose,
    arg_max(r.hemoglobin, struct_pack(r.time, r.hemoglobin)) FILTER (r.hemoglobin IS NOT NULL)
      AS hemoglobin,
    arg_max(r.wbc, struct_pack(r.time, r.wbc)) FILTER (r.wbc IS NOT NULL)             AS wbc,
    arg_max(r.platelet, struct_pack(r.time, r.platelet)) FILTER (r.platelet IS NOT NULL)
      AS platelet,
    arg_max(r.inr, struct_pack(r.time, r.inr)) FILTER (r.inr IS NOT NULL)             AS inr,
    arg_max(r.bilirubin_total, struct_pack(r.time, r.bilirubin_total)) FILTER (r.bilirubin_total IS NOT NULL)
      AS bilirubin_total,
    arg_max(r.ph, struct_pack(r.time, r.ph)) FILTER (r.ph IS NOT NULL)                AS ph,
    arg_max(r.pco2, struct_pack(r.time, r.pco2)) FILTER (r.pco2 IS NOT NULL)          AS pco2,
    arg_max(r.lactate, struct_pack(r.time, r.lactate)) FILTER (r.lactate IS NOT NULL) AS lactate
  FROM results AS r
  JOIN hours AS h
    ON
      h.subject_id = r.subject_id
      AND h.time = date_trunc('hour', r.time - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR
      AND (r.hadm_id IS NULL OR r.hadm_id = h.hadm_id)
  GROUP BY h.stay_id, h.time
),
joined AS (
  SELECT
    h.subject_id,
    h.hadm_id,
    h.stay_id,
    h.hr,
    h.time,
    max(greatest(
      h.available_time, v.available_time, n.available_time, u.available_time, l.available_time, s.available_time
    )) OVER day                                         AS available_time,
    v.heart_rate,
    v.sbp,
    v.dbp,
    v.mbp,
    v.resp_rate,
    v.temperature,
    v.spo2,
    n.gcs,
    u.urineoutput,
    last_value(l.sodium IGNORE NULLS) OVER day          AS sodium,
    last_value(l.potassium IGNORE NULLS) OVER day       AS potassium,
    last_value(l.chloride IGNORE NULLS) OVER day        AS chloride,
    last_value(l.bicarbonate IGNORE NULLS) OVER day     AS bicarbonate,
    last_value(l.bun IGNORE NULLS) OVER day             AS bun,
    last_value(l.creatinine IGNORE NULLS) OVER day      AS creatinine,
    last_value(l.glucose IGNORE NULLS) OVER day         AS glucose,
    last_value(l.hemoglobin IGNORE NULLS) OVER day      AS hemoglobin,
    last_value(l.wbc IGNORE NULLS) OVER day             AS wbc,
    last_value(l.platelet IGNORE NULLS) OVER day        AS platelet,
    last_value(l.inr IGNORE NULLS) OVER day             AS inr,
    last_value(l.bilirubin_total IGNORE NULLS) OVER day AS bilirubin_total,
    last_value(l.ph IGNORE NULLS) OVER day              AS ph,
    last_value(l.pco2 IGNORE NULLS) OVER day            AS pco2,
    last_value(l.lactate IGNORE NULLS) OVER day         AS lactate,
    s.rate_norepinephrine,
    s.rate_epinephrine,
    s.rate_dopamine,
    s.rate_dobutamine,
    s.sofa_24hours
  FROM hours AS h
  LEFT JOIN vital AS v ON v.stay_id = h.stay_id AND v.hour = h.time
  LEFT JOIN neurologic AS n ON n.stay_id = h.stay_id AND n.hour = h.time
  LEFT JOIN urine AS u ON u.stay_id = h.stay_id AND u.hour = h.time
  LEFT JOIN laboratory AS l ON l.stay_id = h.stay_id AND l.hour = h.time
  LEFT JOIN sofa AS s ON s.stay_id = h.stay_id AND s.hr = h.hr
  WINDOW day AS (PARTITION BY h.stay_id ORDER BY h.hr ROWS BETWEEN 23 PRECEDING AND CURRENT ROW)
)
SELECT
  j.subject_id,
  j.hadm_id,
  j.stay_id,
  j.hr,
  j.time,
  greatest(j.available_time, v.available_time)                                AS available_time,
  j.heart_rate,
  j.sbp,
  j.dbp,
  j.mbp,
  j.resp_rate,
  j.temperature,
  j.spo2,
  j.gcs,
  j.urineoutput,
  j.sodium,
  j.potassium,
  j.chloride,
  j.bicarbonate,
  j.bun,
  j.creatinine,
  j.glucose,
  j.hemoglobin,
  j.wbc,
  j.platelet,
  j.inr,
  j.bilirubin_total,
  j.ph,
  j.pco2,
  j.lactate,
  CASE WHEN v.time > j.time - INTERVAL 14 HOURS THEN v.ventilation_status END AS ventilation_status,
  j.rate_norepinephrine,
  j.rate_epinephrine,
  j.rate_dopamine,
  j.rate_dobutamine,
  j.sofa_24hours
FROM joined AS j
ASOF LEFT JOIN ventilation_status AS v ON v.stay_id = j.stay_id AND v.time <= j.time
WHERE j.hr >= 0
