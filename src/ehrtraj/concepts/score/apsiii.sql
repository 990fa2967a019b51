-- Acute Physiology Score (APS III) of APACHE III, of the first day of a stay in intensive care, by the values that are
-- farthest from normal. Missing components count 0 points.
--
-- An axillary temperature is raised by 1 degree. Acute renal failure needs the absence of a code for severe chronic kidney
-- disease, so that the score is then known only when the admission is over.
--
-- source: Knaus WA et al. Chest 1991;100:1619-1636, doi:10.1378/chest.100.6.1619
-- source: Johnson AEW. Mortality prediction and acuity assessment in critical care. University of Oxford 2015 (probability)
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/score/apsiii.sql
-- needs: oxygenation, first_day_ventilation, vitalsign, first_day_gcs, first_day_vitalsign, first_day_urine_output,
--   first_day_lab
-- row: stay_id
-- mimic-code: without start, without end
-- differs: They use blood gases of the complete stay and with its hadm_id; here they are those of the first day.
-- differs: They score the highest oxygen tension; here it is the lowest, which is the worst.
-- differs: They take invasive ventilation from episodes (see `oxygenation`).
-- differs: A stay with possible acute renal failure in an admission without an end has no row.
-- columns:
--   subject_id        BIGINT     -        Patient.
--   hadm_id           BIGINT     -        Admission.
--   stay_id           BIGINT     -        ICU stay.
--   start             TIMESTAMP  -        When the stay began.
--   end               TIMESTAMP  -        24 hours later.
--   available_time    TIMESTAMP  -        When the day had ended and everything that the score depends on was known.
--   apsiii            INTEGER    {score}  Score.
--   apsiii_prob       DOUBLE     1        Probability of death in hospital.
--   hr_score          INTEGER    {score}  Points for heart rate.
--   mbp_score         INTEGER    {score}  Points for mean blood pressure.
--   temp_score        INTEGER    {score}  Points for temperature.
--   resp_rate_score   INTEGER    {score}  Points for respiratory rate.
--   pao2_aado2_score  INTEGER    {score}  Points for oxygen tension or, without it, the alveolar-arterial difference.
--   hematocrit_score  INTEGER    {score}  Points for hematocrit.
--   wbc_score         INTEGER    {score}  Points for white blood cells.
--   creatinine_score  INTEGER    {score}  Points for creatinine.
--   uo_score          INTEGER    {score}  Points for urine.
--   bun_score         INTEGER    {score}  Points for urea nitrogen.
--   sodium_score      INTEGER    {score}  Points for sodium.
--   albumin_score     INTEGER    {score}  Points for albumin.
--   bilirubin_score   INTEGER    {score}  Points for bilirubin.
--   glucose_score     INTEGER    {score}  Points for glucose.
--   acidbase_score    INTEGER    {score}  Points for pH and carbon dioxide.
--   gcs_score         INTEGER    {score}  Points for the responses of the Glasgow Coma Scale.
WITH
days AS (
  SELECT
    s.subject_id,
    s.hadm_id,
    s.stay_id,
    s.start_time                     AS start,
    s.start_time + INTERVAL 24 HOURS AS "end",
    s.end_time,
    s.available_time,
    a.end_available_time             AS admission_end_available_time
  FROM stays AS s
  LEFT JOIN stays AS a ON a.kind = 'admission' AND a.subject_id = s.subject_id AND a.hadm_id = s.hadm_id
  WHERE s.kind = 'icu'
),
gases AS (
  SELECT
    d.stay_id,
    o.available_time,
    CASE WHEN NOT o.invasive AND coalesce(apsiii_high_fio2_points(o.fio2), 0) = 0 THEN o.po2 END AS pao2,
    CASE WHEN o.invasive AND apsiii_high_fio2_points(o.fio2) = 1 THEN o.aado2 END                AS aado2,
    CASE apsiii_ph_range_points(o.ph)
      WHEN 1 THEN apsiii_paco2_ph_below_720_points(o.pco2)
      WHEN 2 THEN apsiii_paco2_ph_720_points(o.pco2)
      WHEN 3 THEN apsiii_paco2_ph_730_points(o.pco2)
      WHEN 4 THEN apsiii_paco2_ph_735_points(o.pco2)
      WHEN 5 THEN apsiii_paco2_ph_745_points(o.pco2)
      WHEN 6 THEN apsiii_paco2_ph_750_points(o.pco2)
      WHEN 7 THEN apsiii_paco2_ph_760_points(o.pco2)
    END                                                                                          AS acidbase_score
  FROM days AS d
  JOIN oxygenation AS o ON o.stay_id = d.stay_id AND o.time >= d.start
  WHERE
    o.specimen = 'ART.'
    AND CASE
      WHEN as_mimic_code() THEN o.hadm_id = d.hadm_id AND o.time < d.end_time
      ELSE o.time <= d."end"
    END
),
blood_gas AS (
  SELECT
    stay_id,
    max(available_time)                                         AS available_time,
    CASE WHEN as_mimic_code() THEN max(pao2) ELSE min(pao2) END AS pao2,
    max(aado2)                                                  AS aado2,
    max(acidbase_score)                                         AS acidbase_score
  FROM gases
  GROUP BY stay_id
),
temperatures AS (
  SELECT
    d.stay_id,
    max(v.available_time)                                           AS available_time,
    min(v.temperature + CASE WHEN t.text IS NULL THEN 0 ELSE 1 END) AS temperature_min,
    max(v.temperature + CASE WHEN t.text IS NULL THEN 0 ELSE 1 END) AS temperature_max
  FROM days AS d
  JOIN vitalsign AS v ON v.stay_id = d.stay_id AND v.time >= d.start - INTERVAL 6 HOURS AND v.time <= d."end"
  LEFT JOIN concept_texts AS t
    ON t.concept = 'temperature_site' AND t.meaning = 'axillary' AND t.text = v.temperature_site
  WHERE v.temperature IS NOT NULL
  GROUP BY d.stay_id
),
chronic AS (
  SELECT d.hadm_id, max(d.available_time) AS available_time
  FROM diagnoses AS d
  JOIN concept_diagnoses AS c ON d.icd_version = CAST(c.icd_version AS INTEGER) AND starts_with(d.icd_digits, c.prefix)
  WHERE d.kind = 'admission' AND c.concept = 'chronic_kidney_disease' AND c.category = 'severe'
  GROUP BY d.hadm_id
),
worst AS (
  SELECT
    d.*,
    greatest(
      d.available_time, d."end", b.available_time, m.available_time, t.available_time, g.available_time,
      v.available_time, u.available_time, l.available_time
    )                                      AS values_available_time,
    c.available_time                       AS chronic_available_time,
    coalesce(
      apsiii_acute_failure_creatinine_points(l.creatinine_max) = 1
      AND apsiii_acute_failure_urine_output_points(u.urineoutput) = 1,
      false
    )                                      AS may_be_acute,
    c.hadm_id IS NOT NULL                  AS is_chronic,
    m.ventilated,
    b.pao2,
    b.aado2,
    b.acidbase_score,
    v.heart_rate_min,
    v.heart_rate_max,
    v.mbp_min,
    v.mbp_max,
    v.resp_rate_min,
    v.resp_rate_max,
    t.temperature_min,
    t.temperature_max,
    l.hematocrit_min,
    l.hematocrit_max,
    l.wbc_min,
    l.wbc_max,
    l.creatinine_min,
    l.creatinine_max,
    l.bun_max,
    l.sodium_min,
    l.sodium_max,
    l.albumin_min,
    l.albumin_max,
    l.bilirubin_total_max,
    least(l.glucose_min, v.glucose_min)    AS glucose_min,
    greatest(l.glucose_max, v.glucose_max) AS glucose_max,
    u.urineoutput,
    g.gcs_motor,
    g.gcs_verbal,
    g.gcs_eyes,
    g.gcs_unable
  FROM days AS d
  LEFT JOIN blood_gas AS b ON b.stay_id = d.stay_id
  LEFT JOIN first_day_ventilation AS m ON m.stay_id = d.stay_id
  LEFT JOIN temperatures AS t ON t.stay_id = d.stay_id
  LEFT JOIN first_day_gcs AS g ON g.stay_id = d.stay_id
  LEFT JOIN first_day_vitalsign AS v ON v.stay_id = d.stay_id
  LEFT JOIN first_day_urine_output AS u ON u.stay_id = d.stay_id
  LEFT JOIN first_day_lab AS l ON l.stay_id = d.stay_id
  LEFT JOIN chronic AS c ON c.hadm_id = d.hadm_id
),
-- Of two values, the one that is farther from the middle of the normal range has the points; of two that are equally far,
-- the one with more points.
chosen AS (
  SELECT
    *,
    may_be_acute AND NOT is_chronic                               AS is_acute,
    sign(abs(heart_rate_max - 75) - abs(heart_rate_min - 75))     AS hr_side,
    sign(abs(mbp_max - 90) - abs(mbp_min - 90))                   AS mbp_side,
    sign(abs(temperature_max - 38) - abs(temperature_min - 38))   AS temp_side,
    sign(abs(resp_rate_max - 19) - abs(resp_rate_min - 19))       AS resp_rate_side,
    sign(abs(hematocrit_max - 45.5) - abs(hematocrit_min - 45.5)) AS hematocrit_side,
    sign(abs(wbc_max - 11.5) - abs(wbc_min - 11.5))               AS wbc_side,
    sign(abs(creatinine_max - 1) - abs(creatinine_min - 1))       AS creatinine_side,
    sign(abs(sodium_max - 145.5) - abs(sodium_min - 145.5))       AS sodium_side,
    sign(abs(albumin_max - 3.5) - abs(albumin_min - 3.5))         AS albumin_side,
    sign(abs(glucose_max - 130) - abs(glucose_min - 130))         AS glucose_side
  FROM worst
),
scored AS (
  SELECT
    subject_id,
    hadm_id,
    stay_id,
    start,
    "end",
    CASE
      WHEN may_be_acute THEN greatest(values_available_time, admission_end_available_time, chronic_available_time)
      ELSE values_available_time
    END                                                            AS available_time,
    acidbase_score,
    greatest(
      CASE WHEN hr_side >= 0 THEN apsiii_heart_rate_points(heart_rate_max) END,
      CASE WHEN hr_side <= 0 THEN apsiii_heart_rate_points(heart_rate_min) END
    )                                                              AS hr_score,
    greatest(
      CASE WHEN mbp_side >= 0 THEN apsiii_mbp_points(mbp_max) END,
      CASE WHEN mbp_side <= 0 THEN apsiii_mbp_points(mbp_min) END
    )                                                              AS mbp_score,
    greatest(
      CASE WHEN temp_side >= 0 THEN apsiii_temperature_points(temperature_max) END,
      CASE WHEN temp_side <= 0 THEN apsiii_temperature_points(temperature_min) END
    )                                                              AS temp_score,
    greatest(
      CASE WHEN hematocrit_side >= 0 THEN apsiii_hematocrit_points(hematocrit_max) END,
      CASE WHEN hematocrit_side <= 0 THEN apsiii_hematocrit_points(hematocrit_min) END
    )                                                              AS hematocrit_score,
    greatest(
      CASE WHEN wbc_side >= 0 THEN apsiii_wbc_points(wbc_max) END,
      CASE WHEN wbc_side <= 0 THEN apsiii_wbc_points(wbc_min) END
    )                                                              AS wbc_score,
    greatest(
      CASE WHEN sodium_side >= 0 THEN apsiii_sodium_points(sodium_max) END,
      CASE WHEN sodium_side <= 0 THEN apsiii_sodium_points(sodium_min) END
    )                                                              AS sodium_score,
    greatest(
      CASE WHEN albumin_side >= 0 THEN apsiii_albumin_points(albumin_max) END,
      CASE WHEN albumin_side <= 0 THEN apsiii_albumin_points(albumin_min) END
    )                                                              AS albumin_score,
    greatest(
      CASE WHEN glucose_side >= 0 THEN apsiii_glucose_points(glucose_max) END,
      CASE WHEN glucose_side <= 0 THEN apsiii_glucose_points(glucose_min) END
    )                                                              AS glucose_score,
    greatest(
      CASE
        WHEN resp_rate_side < 0 THEN NULL
        WHEN ventilated THEN apsiii_resp_rate_ventilated_points(resp_rate_max)
        ELSE apsiii_resp_rate_points(resp_rate_max)
      END,
      CASE
        WHEN resp_rate_side > 0 THEN NULL
        WHEN ventilated THEN apsiii_resp_rate_ventilated_points(resp_rate_min)
        ELSE apsiii_resp_rate_points(resp_rate_min)
      END
    )                                                              AS resp_rate_score,
    CASE
      WHEN is_acute THEN apsiii_creatinine_acute_failure_points(creatinine_max)
      ELSE
        greatest(
          CASE WHEN creatinine_side >= 0 THEN apsiii_creatinine_points(creatinine_max) END,
          CASE WHEN creatinine_side <= 0 THEN apsiii_creatinine_points(creatinine_min) END
        )
    END                                                            AS creatinine_score,
    apsiii_bun_points(bun_max)                                     AS bun_score,
    apsiii_bilirubin_points(bilirubin_total_max)                   AS bilirubin_score,
    apsiii_urine_output_points(urineoutput)                        AS uo_score,
    coalesce(apsiii_pao2_points(pao2), apsiii_aado2_points(aado2)) AS pao2_aado2_score,
    CASE
      WHEN gcs_unable = 1 THEN 0
      WHEN gcs_eyes = 1 AND gcs_verbal = 1 THEN apsiii_motor_closed_verbal_1_points(gcs_motor)
      WHEN gcs_eyes = 1 AND gcs_verbal IN (2, 3) THEN apsiii_motor_closed_verbal_2_points(gcs_motor)
      WHEN gcs_eyes > 1 AND gcs_verbal = 1 THEN apsiii_motor_open_verbal_1_points(gcs_motor)
      WHEN gcs_eyes > 1 AND gcs_verbal IN (2, 3) THEN apsiii_motor_open_verbal_2_points(gcs_motor)
      WHEN gcs_eyes > 1 AND gcs_verbal = 4 THEN apsiii_motor_open_verbal_4_points(gcs_motor)
      WHEN gcs_eyes > 1 AND gcs_verbal = 5 THEN apsiii_motor_open_verbal_5_points(gcs_motor)
    END                                                            AS gcs_score
  FROM chosen
  WHERE NOT may_be_acute OR admission_end_available_time IS NOT NULL OR as_mimic_code()
),
summed AS (
  SELECT
    *,
    coalesce(hr_score, 0)
    + coalesce(mbp_score, 0)
    + coalesce(temp_score, 0)
    + coalesce(resp_rate_score, 0)
    + coalesce(pao2_aado2_score, 0)
    + coalesce(hematocrit_score, 0)
    + coalesce(wbc_score, 0)
    + coalesce(creatinine_score, 0)
    + coalesce(uo_score, 0)
    + coalesce(bun_score, 0)
    + coalesce(sodium_score, 0)
    + coalesce(albumin_score, 0)
    + coalesce(bilirubin_score, 0)
    + coalesce(glucose_score, 0)
    + coalesce(acidbase_score, 0)
    + coalesce(gcs_score, 0) AS apsiii
  FROM scored
)
SELECT *, 1 / (1 + exp(4.436 - 0.04726 * apsiii)) AS apsiii_prob
FROM summed
