-- Logistic Organ Dysfunction System (LODS) of the first day of a stay in intensive care, by the worst values. Missing
-- components count 0 points.
--
-- source: Le Gall JR et al. JAMA 1996;276:802-810, doi:10.1001/jama.1996.03540100046027
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/score/lods.sql
-- needs: oxygenation, first_day_gcs, first_day_vitalsign, first_day_urine_output, first_day_lab
-- row: stay_id
-- mimic-code: without start, without end
-- differs: They give a point for urea nitrogen from 7.5 mg/dL, which is a limit in mmol/L; here it is 17 mg/dL, as in the
--   definition (MIT-LCP/mimic-code, issue 1065).
-- differs: They use P/F ratios of the complete stay, of any blood, and with the hadm_id of the stay; here they are those
--   of arterial blood on the first day.
-- differs: They take invasive ventilation from episodes (see `oxygenation`).
-- columns:
--   subject_id      BIGINT     -        Patient.
--   hadm_id         BIGINT     -        Admission.
--   stay_id         BIGINT     -        ICU stay.
--   start           TIMESTAMP  -        When the stay began.
--   end             TIMESTAMP  -        24 hours later.
--   available_time  TIMESTAMP  -        When the day had ended and all values were known.
--   lods            INTEGER    {score}  Score, 0 to 22.
--   neurologic      INTEGER    {score}  Points for the Glasgow Coma Scale.
--   cardiovascular  INTEGER    {score}  Points for heart rate and systolic blood pressure.
--   renal           INTEGER    {score}  Points for urea nitrogen, creatinine and urine; null if one is missing.
--   pulmonary       INTEGER    {score}  Points for the P/F ratio under ventilation or CPAP; 0 without either.
--   hematologic     INTEGER    {score}  Points for white blood cells and platelets.
--   hepatic         INTEGER    {score}  Points for bilirubin and prothrombin time.
WITH
days AS (
  SELECT
    subject_id, hadm_id, stay_id, start_time AS start, start_time + INTERVAL 24 HOURS AS "end", end_time, available_time
  FROM stays
  WHERE kind = 'icu'
),
cpap AS (
  SELECT
    d.stay_id,
    min(v.time) - INTERVAL 1 HOUR  AS start,
    max(v.time) + INTERVAL 4 HOURS AS "end",
    max(v.available_time)          AS available_time
  FROM days AS d
  JOIN vitals AS v ON v.stay_id = d.stay_id AND v.time >= d.start AND v.time <= d."end"
  JOIN concept_texts AS t ON t.concept = v.concept AND t.meaning = 'NonInvasiveVent' AND t.text = v.text_value
  WHERE v.event_type = 'CHART' AND v.concept = 'o2_delivery_device'
  GROUP BY d.stay_id
),
gases AS (
  SELECT
    d.stay_id,
    max(greatest(o.available_time, c.available_time)) AS available_time,
    min(o.pao2fio2ratio)                              AS pao2fio2_vent_min
  FROM days AS d
  JOIN oxygenation AS o ON o.stay_id = d.stay_id AND o.time >= d.start
  LEFT JOIN cpap AS c ON c.stay_id = d.stay_id AND o.time >= c.start AND o.time <= c."end"
  WHERE
    (o.invasive OR c.stay_id IS NOT NULL)
    AND CASE
      WHEN as_mimic_code() THEN o.hadm_id = d.hadm_id AND o.time < d.end_time
      ELSE o.specimen = 'ART.' AND o.time <= d."end"
    END
  GROUP BY d.stay_id
),
scored AS (
  SELECT
    d.* EXCLUDE (end_time) REPLACE (
      greatest(
        d.available_time, d."end", o.available_time, g.available_time, v.available_time, u.available_time,
        l.available_time
      ) AS available_time
    ),
    lods_gcs_points(g.gcs_min)                             AS neurologic,
    CASE
      WHEN v.heart_rate_max IS NOT NULL OR v.sbp_min IS NOT NULL
        THEN
          greatest(
            lods_heart_rate_points(v.heart_rate_min),
            lods_heart_rate_points(v.heart_rate_max),
            lods_sbp_points(v.sbp_min),
            lods_sbp_points(v.sbp_max)
          )
    END                                                    AS cardiovascular,
    CASE
      WHEN l.bun_max IS NOT NULL AND u.urineoutput IS NOT NULL AND l.creatinine_max IS NOT NULL
        THEN
          greatest(
            lods_bun_points(l.bun_max),
            lods_creatinine_points(l.creatinine_max),
            lods_urine_output_points(u.urineoutput),
            CASE WHEN as_mimic_code() THEN lods_bun_as_mimic_code_points(l.bun_max) END
          )
    END                                                    AS renal,
    coalesce(lods_pao2fio2_points(o.pao2fio2_vent_min), 0) AS pulmonary,
    greatest(
      lods_wbc_points(l.wbc_min), lods_wbc_points(l.wbc_max), lods_platelet_points(l.platelets_min)
    )                                                      AS hematologic,
    greatest(
      lods_bilirubin_points(l.bilirubin_total_max), lods_pt_points(l.pt_min), lods_pt_points(l.pt_max)
    )                                                      AS hepatic
  FROM days AS d
  LEFT JOIN gases AS o ON o.stay_id = d.stay_id
  LEFT JOIN first_day_gcs AS g ON g.stay_id = d.stay_id
  LEFT JOIN first_day_vitalsign AS v ON v.stay_id = d.stay_id
  LEFT JOIN first_day_urine_output AS u ON u.stay_id = d.stay_id
  LEFT JOIN first_day_lab AS l ON l.stay_id = d.stay_id
)
SELECT
  subject_id,
  hadm_id,
  stay_id,
  start,
  "end",
  available_time,
  neurologic,
  cardiovascular,
  renal,
  pulmonary,
  hematologic,
  hepatic,
  coalesce(neurologic, 0) + coalesce(cardiovascular, 0) + coalesce(renal, 0) + pulmonary + coalesce(hematologic, 0)
  + coalesce(hepatic, 0) AS lods
FROM scored
