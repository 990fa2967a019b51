-- Sequential Organ Failure Assessment (SOFA), for each hour of a stay in intensive care: the worst values of the hour,
-- their points, and the highest points of the last 24 hours.
--
-- A drug counts if it was running at the end of the hour. Missing components count 0 points. With the clock `available`,
-- the score is what could be computed at the end of the hour.
--
-- source: Vincent JL et al. Intensive Care Med 1996;22:707-710, doi:10.1007/BF01709751
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/score/sofa.sql
-- needs: icustay_hourly, oxygenation, vitalsign, gcs, enzyme, chemistry, complete_blood_count, urine_output_rate
-- row: stay_id, hr
-- mimic-code: endtime = time, without subject_id
-- differs: They leave out laboratory results without hadm_id; here those taken in the hour count.
-- differs: They take invasive ventilation from episodes (see `oxygenation`).
-- columns:
--   subject_id              BIGINT     -          Patient.
--   stay_id                 BIGINT     -          ICU stay.
--   hr                      BIGINT     h          Number of the hour.
--   starttime               TIMESTAMP  -          Beginning of the hour.
--   time                    TIMESTAMP  -          End of the hour.
--   available_time          TIMESTAMP  -          When all values of the 24 hours were known.
--   pao2fio2ratio_novent    DOUBLE     mm[Hg]     Lowest P/F ratio without invasive ventilation.
--   pao2fio2ratio_vent      DOUBLE     mm[Hg]     Lowest P/F ratio under invasive ventilation.
--   rate_epinephrine        DOUBLE     ug/kg/min  Highest rate of epinephrine.
--   rate_norepinephrine     DOUBLE     ug/kg/min  Highest rate of norepinephrine.
--   rate_dopamine           DOUBLE     ug/kg/min  Highest rate of dopamine.
--   rate_dobutamine         DOUBLE     ug/kg/min  Highest rate of dobutamine.
--   meanbp_min              DOUBLE     mm[Hg]     Lowest mean blood pressure.
--   gcs_min                 DOUBLE     {score}    Lowest Glasgow Coma Scale.
--   uo_24hr                 DOUBLE     mL         Urine of 24 hours, from measurements that cover 22 to 30 hours.
--   bilirubin_max           DOUBLE     mg/dL      Highest total bilirubin.
--   creatinine_max          DOUBLE     mg/dL      Highest creatinine.
--   platelet_min            DOUBLE     10*3/uL    Lowest platelet count.
--   respiration             INTEGER    {score}    Points for oxygenation; null without values in the hour.
--   coagulation             INTEGER    {score}    Points for platelets.
--   liver                   INTEGER    {score}    Points for bilirubin.
--   cardiovascular          INTEGER    {score}    Points for blood pressure and drugs.
--   cns                     INTEGER    {score}    Points for the Glasgow Coma Scale.
--   renal                   INTEGER    {score}    Points for creatinine and urine.
--   respiration_24hours     INTEGER    {score}    Highest points for oxygenation in 24 hours.
--   coagulation_24hours     INTEGER    {score}    Highest points for platelets in 24 hours.
--   liver_24hours           INTEGER    {score}    Highest points for bilirubin in 24 hours.
--   cardiovascular_24hours  INTEGER    {score}    Highest points for blood pressure and drugs in 24 hours.
--   cns_24hours             INTEGER    {score}    Highest points for the Glasgow Coma Scale in 24 hours.
--   renal_24hours           INTEGER    {score}    Highest points for creatinine and urine in 24 hours.
--   sofa_24hours            INTEGER    {score}    Sum of the points of 24 hours, 0 to 24.
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
gases AS (
  SELECT
    stay_id,
    date_trunc('hour', time - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR AS hour,
    max(available_time)                                                 AS available_time,
    min(pao2fio2ratio) FILTER (NOT invasive)                            AS pao2fio2ratio_novent,
    min(pao2fio2ratio) FILTER (invasive)                                AS pao2fio2ratio_vent
  FROM oxygenation
  WHERE specimen = 'ART.' AND pao2fio2ratio IS NOT NULL
  GROUP BY stay_id, hour
),
charted AS (
  SELECT stay_id, time, available_time, mbp, NULL AS gcs, NULL AS uo_24hr
  FROM vitalsign
  WHERE mbp IS NOT NULL
  UNION ALL
  SELECT stay_id, time, available_time, NULL, gcs, NULL
  FROM gcs
  UNION ALL
  SELECT stay_id, time, available_time, NULL, NULL, urineoutput_24hr / uo_tm_24hr * 24
  FROM urine_output_rate
  WHERE uo_tm_24hr BETWEEN 22 AND 30
),
bedside AS (
  SELECT
    stay_id,
    date_trunc('hour', time - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR AS hour,
    max(available_time)                                                 AS available_time,
    min(mbp)                                                            AS meanbp_min,
    min(gcs)                                                            AS gcs_min,
    max(uo_24hr)                                                        AS uo_24hr
  FROM charted
  GROUP BY stay_id, hour
),
results AS (
  SELECT subject_id, hadm_id, time, available_time, bilirubin_total, NULL AS creatinine, NULL AS platelet
  FROM enzyme
  WHERE bilirubin_total IS NOT NULL
  UNION ALL
  SELECT subject_id, hadm_id, time, available_time, NULL, creatinine, NULL
  FROM chemistry
  WHERE creatinine IS NOT NULL
  UNION ALL
  SELECT subject_id, hadm_id, time, available_time, NULL, NULL, platelet
  FROM complete_blood_count
  WHERE platelet IS NOT NULL
),
laboratory AS (
  SELECT
    h.stay_id,
    h.time                 AS hour,
    max(r.available_time)  AS available_time,
    max(r.bilirubin_total) AS bilirubin_max,
    max(r.creatinine)      AS creatinine_max,
    min(r.platelet)        AS platelet_min
  FROM results AS r
  JOIN hours AS h
    ON
      h.subject_id = r.subject_id
      AND h.time = date_trunc('hour', r.time - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR
      AND (h.hadm_id = r.hadm_id OR (r.hadm_id IS NULL AND NOT as_mimic_code()))
  GROUP BY h.stay_id, h.time
),
last_hours AS (
  SELECT stay_id, max(time) AS last_hour
  FROM hours
  GROUP BY stay_id
),
-- Every hour that ends while a drug is running, or after its end but before the end is known.
infusions AS (
  SELECT
    i.stay_id,
    i.concept,
    i.rate,
    i.start_time,
    i.end_time,
    i.available_time,
    i.end_available_time,
    unnest(generate_series(
      date_trunc('hour', i.start_time) + INTERVAL 1 HOUR,
      least(greatest(coalesce(i.end_time, l.last_hour), i.end_available_time), l.last_hour),
      INTERVAL 1 HOUR
    )) AS hour
  FROM inputs AS i
  JOIN last_hours AS l ON l.stay_id = i.stay_id
  WHERE
    i.concept IN ('epinephrine', 'norepinephrine', 'dopamine', 'dobutamine')
    AND (i.end_time IS NOT NULL OR NOT as_mimic_code())
),
running AS (
  SELECT
    stay_id,
    hour,
    concept,
    CASE WHEN end_time IS NULL OR hour <= end_time THEN rate END                                   AS rate,
    CASE WHEN end_time IS NULL OR hour <= end_time THEN available_time ELSE end_available_time END AS available_time
  FROM infusions
),
drugs AS (
  SELECT
    stay_id,
    hour,
    max(available_time)                           AS available_time,
    max(rate) FILTER (concept = 'epinephrine')    AS rate_epinephrine,
    max(rate) FILTER (concept = 'norepinephrine') AS rate_norepinephrine,
    max(rate) FILTER (concept = 'dopamine')       AS rate_dopamine,
    max(rate) FILTER (concept = 'dobutamine')     AS rate_dobutamine
  FROM running
  GROUP BY stay_id, hour
),
scored AS (
  SELECT
    h.subject_id,
    h.stay_id,
    h.hr,
    h.time,
    greatest(
      h.available_time, o.available_time, b.available_time, l.available_time, d.available_time
    )                                                                                       AS available_time,
    o.pao2fio2ratio_novent,
    o.pao2fio2ratio_vent,
    d.rate_epinephrine,
    d.rate_norepinephrine,
    d.rate_dopamine,
    d.rate_dobutamine,
    b.meanbp_min,
    b.gcs_min,
    b.uo_24hr,
    l.bilirubin_max,
    l.creatinine_max,
    l.platelet_min,
    greatest(
      sofa_respiration_ventilated_points(o.pao2fio2ratio_vent), sofa_respiration_points(o.pao2fio2ratio_novent)
    )                                                                                       AS respiration,
    sofa_coagulation_points(l.platelet_min)                                                 AS coagulation,
    sofa_liver_points(l.bilirubin_max)                                                      AS liver,
    greatest(
      sofa_dopamine_points(d.rate_dopamine),
      sofa_dobutamine_points(d.rate_dobutamine),
      sofa_epinephrine_points(d.rate_epinephrine),
      sofa_norepinephrine_points(d.rate_norepinephrine),
      sofa_mbp_points(b.meanbp_min)
    )                                                                                       AS cardiovascular,
    sofa_cns_points(b.gcs_min)                                                              AS cns,
    greatest(sofa_creatinine_points(l.creatinine_max), sofa_urine_output_points(b.uo_24hr)) AS renal
  FROM hours AS h
  LEFT JOIN gases AS o ON o.stay_id = h.stay_id AND o.hour = h.time
  LEFT JOIN bedside AS b ON b.stay_id = h.stay_id AND b.hour = h.time
  LEFT JOIN laboratory AS l ON l.stay_id = h.stay_id AND l.hour = h.time
  LEFT JOIN drugs AS d ON d.stay_id = h.stay_id AND d.hour = h.time
),
summed AS (
  SELECT
    * REPLACE (max(available_time) OVER day AS available_time),
    time - INTERVAL 1 HOUR                    AS starttime,
    coalesce(max(respiration) OVER day, 0)    AS respiration_24hours,
    coalesce(max(coagulation) OVER day, 0)    AS coagulation_24hours,
    coalesce(max(liver) OVER day, 0)          AS liver_24hours,
    coalesce(max(cardiovascular) OVER day, 0) AS cardiovascular_24hours,
    coalesce(max(cns) OVER day, 0)            AS cns_24hours,
    coalesce(max(renal) OVER day, 0)          AS renal_24hours
  FROM scored
  WINDOW day AS (PARTITION BY stay_id ORDER BY hr ROWS BETWEEN 23 PRECEDING AND CURRENT ROW)
)
SELECT
  *,
  respiration_24hours + coagulation_24hours + liver_24hours + cardiovascular_24hours + cns_24hours + renal_24hours
    AS sofa_24hours
FROM summed
WHERE hr >= 0
