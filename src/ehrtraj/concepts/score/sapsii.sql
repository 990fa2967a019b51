-- Simplified Acute Physiology Score (SAPS II) of the first 24 hours of a stay in intensive care, by the worst values.
--
-- Missing components count 0 points. Chronic diseases are those coded for the admission, so that the score is known only
-- when the admission is over.
--
-- source: Le Gall JR et al. JAMA 1993;270:2957-2963, doi:10.1001/jama.1993.03510240069035
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/score/sapsii.sql
-- needs: oxygenation, gcs, vitalsign, urine_output, chemistry, complete_blood_count, enzyme
-- row: stay_id
-- mimic-code: starttime = start, endtime = end
-- differs: Surgery on the day of a planned admission is elective; they score it as unscheduled.
-- differs: They take invasive ventilation from episodes (see `oxygenation`).
-- differs: A stay in an admission without an end has no row.
-- columns:
--   subject_id           BIGINT     -        Patient.
--   hadm_id              BIGINT     -        Admission.
--   stay_id              BIGINT     -        ICU stay.
--   start                TIMESTAMP  -        When the stay began.
--   end                  TIMESTAMP  -        24 hours later.
--   available_time       TIMESTAMP  -        When the admission had ended and all values and codes were known.
--   sapsii               INTEGER    {score}  Score, 0 to 163.
--   sapsii_prob          DOUBLE     1        Probability of death in hospital.
--   age_score            INTEGER    {score}  Points for age.
--   hr_score             INTEGER    {score}  Points for heart rate.
--   sysbp_score          INTEGER    {score}  Points for systolic blood pressure.
--   temp_score           INTEGER    {score}  Points for temperature.
--   pao2fio2_score       INTEGER    {score}  Points for the P/F ratio under ventilation or CPAP; null without either.
--   uo_score             INTEGER    {score}  Points for urine.
--   bun_score            INTEGER    {score}  Points for urea nitrogen.
--   wbc_score            INTEGER    {score}  Points for white blood cells.
--   potassium_score      INTEGER    {score}  Points for potassium.
--   sodium_score         INTEGER    {score}  Points for sodium.
--   bicarbonate_score    INTEGER    {score}  Points for bicarbonate.
--   bilirubin_score      INTEGER    {score}  Points for bilirubin.
--   gcs_score            INTEGER    {score}  Points for the Glasgow Coma Scale.
--   comorbidity_score    INTEGER    {score}  Points for AIDS, hematologic malignancy or metastatic cancer.
--   admissiontype_score  INTEGER    {score}  Points for the type of admission.
WITH
days AS (
  SELECT
    i.subject_id,
    i.hadm_id,
    i.stay_id,
    i.start_time                                                                       AS start,
    i.start_time + INTERVAL 24 HOURS                                                   AS "end",
    greatest(i.available_time, i.start_time + INTERVAL 24 HOURS, a.end_available_time) AS available_time,
    a.age,
    a.start_item                                                                       AS admission_type
  FROM stays AS i
  JOIN stays AS a ON a.kind = 'admission' AND a.subject_id = i.subject_id AND a.hadm_id = i.hadm_id
  WHERE i.kind = 'icu' AND (a.end_time IS NOT NULL OR as_mimic_code())
),
cpap AS (
  SELECT
    d.stay_id,
    greatest(min(v.time) - INTERVAL 1 HOUR, d.start) AS start,
    least(max(v.time) + INTERVAL 4 HOURS, d."end")   AS "end",
    max(v.available_time)                            AS available_time
  FROM days AS d
  JOIN vitals AS v ON v.stay_id = d.stay_id AND v.time > d.start AND v.time <= d."end"
  JOIN concept_texts AS t
    ON t.concept = v.concept AND t.meaning = 'NonInvasiveVent' AND t.text = v.text_value
  WHERE v.event_type = 'CHART' AND v.concept = 'o2_delivery_device'
  GROUP BY d.stay_id, d.start, d."end"
),
gases AS (
  SELECT
    d.stay_id,
    max(greatest(o.available_time, c.available_time))                                           AS available_time,
    min(o.pao2fio2ratio) FILTER (o.invasive_before OR (o.time > c.start AND o.time <= c."end")) AS pao2fio2_vent_min
  FROM days AS d
  JOIN oxygenation AS o ON o.stay_id = d.stay_id AND o.time > d.start AND o.time <= d."end"
  LEFT JOIN cpap AS c ON c.stay_id = d.stay_id
  WHERE o.specimen = 'ART.'
  GROUP BY d.stay_id
),
neurologic AS (
  SELECT d.stay_id, max(g.available_time) AS available_time, min(g.gcs) AS gcs_min
  FROM days AS d
  JOIN gcs AS g ON g.stay_id = d.stay_id AND g.time > d.start AND g.time <= d."end"
  GROUP BY d.stay_id
),
vital AS (
  SELECT
    d.stay_id,
    max(v.available_time) AS available_time,
    min(v.heart_rate)     AS heart_rate_min,
    max(v.heart_rate)     AS heart_rate_max,
    min(v.sbp)            AS sbp_min,
    max(v.sbp)            AS sbp_max,
    max(v.temperature)    AS temperature_max
  FROM days AS d
  JOIN vitalsign AS v ON v.subject_id = d.subject_id AND v.time > d.start AND v.time <= d."end"
  GROUP BY d.stay_id
),
urine AS (
  SELECT d.stay_id, max(u.available_time) AS available_time, sum(u.urineoutput) AS urineoutput
  FROM days AS d
  JOIN urine_output AS u ON u.stay_id = d.stay_id AND u.time > d.start AND u.time <= d."end"
  GROUP BY d.stay_id
),
results AS (
  SELECT
    subject_id, time, available_time, bun, potassium, sodium, bicarbonate, NULL AS wbc, NULL AS bilirubin_total
  FROM chemistry
  UNION ALL
  SELECT subject_id, time, available_time, NULL, NULL, NULL, NULL, wbc, NULL
  FROM complete_blood_count
  UNION ALL
  SELECT subject_id, time, available_time, NULL, NULL, NULL, NULL, NULL, bilirubin_total
  FROM enzyme
),
laboratory AS (
  SELECT
    d.stay_id,
    max(r.available_time)  AS available_time,
    max(r.bun)             AS bun_max,
    min(r.potassium)       AS potassium_min,
    max(r.potassium)       AS potassium_max,
    min(r.sodium)          AS sodium_min,
    max(r.sodium)          AS sodium_max,
    min(r.bicarbonate)     AS bicarbonate_min,
    min(r.wbc)             AS wbc_min,
    max(r.wbc)             AS wbc_max,
    max(r.bilirubin_total) AS bilirubin_max
  FROM days AS d
  JOIN results AS r ON r.subject_id = d.subject_id AND r.time > d.start AND r.time <= d."end"
  GROUP BY d.stay_id
),
chronic AS (
  SELECT
    d.hadm_id,
    max(d.available_time) AS available_time,
    max(
      CASE c.category
        WHEN 'aids' THEN sapsii_aids_points(1)
        WHEN 'hematologic_malignancy' THEN sapsii_hematologic_malignancy_points(1)
        WHEN 'metastatic_cancer' THEN sapsii_metastatic_cancer_points(1)
      END
    )                     AS points
  FROM diagnoses AS d
  JOIN concept_diagnoses AS c ON d.icd_version = CAST(c.icd_version AS INTEGER) AND starts_with(d.icd_digits, c.prefix)
  WHERE d.kind = 'admission' AND c.concept = 'sapsii'
  GROUP BY d.hadm_id
),
first_services AS (
  SELECT hadm_id, service, available_time
  FROM services
  QUALIFY row_number() OVER (PARTITION BY hadm_id ORDER BY time, service) = 1
),
types AS (
  SELECT
    d.stay_id,
    s.available_time,
    CASE
      WHEN t.text IS NULL THEN sapsii_medical_admission_points(1)
      WHEN e.text IS NOT NULL THEN sapsii_scheduled_surgery_points(1)
      ELSE sapsii_unscheduled_surgery_points(1)
    END AS points
  FROM days AS d
  LEFT JOIN first_services AS s ON s.hadm_id = d.hadm_id
  LEFT JOIN concept_texts AS t ON t.concept = 'service' AND t.meaning = 'surgical' AND t.text = s.service
  LEFT JOIN concept_texts AS e
    ON
      e.concept = 'admission_type'
      AND (e.meaning = 'elective' OR (e.meaning = 'planned' AND NOT as_mimic_code()))
      AND e.text = d.admission_type
),
scored AS (
  SELECT
    d.subject_id,
    d.hadm_id,
    d.stay_id,
    d.start,
    d."end",
    greatest(
      d.available_time, o.available_time, n.available_time, v.available_time, u.available_time, l.available_time,
      c.available_time, t.available_time
    )                                                                                                AS available_time,
    sapsii_age_points(d.age)                                                                         AS age_score,
    greatest(sapsii_heart_rate_points(v.heart_rate_min), sapsii_heart_rate_points(v.heart_rate_max)) AS hr_score,
    greatest(sapsii_sbp_points(v.sbp_min), sapsii_sbp_points(v.sbp_max))                             AS sysbp_score,
    sapsii_temperature_points(v.temperature_max)                                                     AS temp_score,
    sapsii_pao2fio2_points(o.pao2fio2_vent_min)                                                      AS pao2fio2_score,
    sapsii_urine_output_points(u.urineoutput)                                                        AS uo_score,
    sapsii_bun_points(l.bun_max)                                                                     AS bun_score,
    greatest(sapsii_wbc_points(l.wbc_min), sapsii_wbc_points(l.wbc_max))                             AS wbc_score,
    greatest(sapsii_potassium_points(l.potassium_min), sapsii_potassium_points(l.potassium_max))     AS potassium_score,
    greatest(sapsii_sodium_points(l.sodium_min), sapsii_sodium_points(l.sodium_max))                 AS sodium_score,
    sapsii_bicarbonate_points(l.bicarbonate_min)
      AS bicarbonate_score,
    sapsii_bilirubin_points(l.bilirubin_max)                                                         AS bilirubin_score,
    sapsii_gcs_points(n.gcs_min)                                                                     AS gcs_score,
    coalesce(c.points, 0)
      AS comorbidity_score,
    t.points
      AS admissiontype_score
  FROM days AS d
  LEFT JOIN gases AS o ON o.stay_id = d.stay_id
  LEFT JOIN neurologic AS n ON n.stay_id = d.stay_id
  LEFT JOIN vital AS v ON v.stay_id = d.stay_id
  LEFT JOIN urine AS u ON u.stay_id = d.stay_id
  LEFT JOIN laboratory AS l ON l.stay_id = d.stay_id
  LEFT JOIN chronic AS c ON c.hadm_id = d.hadm_id
  LEFT JOIN types AS t ON t.stay_id = d.stay_id
),
summed AS (
  SELECT
    *,
    coalesce(age_score, 0) + coalesce(hr_score, 0) + coalesce(sysbp_score, 0) + coalesce(temp_score, 0)
    + coalesce(pao2fio2_score, 0) + coalesce(uo_score, 0) + coalesce(bun_score, 0) + coalesce(wbc_score, 0)
    + coalesce(potassium_score, 0) + coalesce(sodium_score, 0) + coalesce(bicarbonate_score, 0)
    + coalesce(bilirubin_score, 0) + coalesce(gcs_score, 0) + comorbidity_score + admissiontype_score AS sapsii
  FROM scored
)
SELECT
  *,
  1 / (1 + exp(7.7631 - 0.0737 * sapsii - 0.9971 * ln(sapsii + 1))) AS sapsii_prob
FROM summed
