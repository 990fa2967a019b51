-- Baseline creatinine of each admission of an adult, once the admission is over.
--
-- It is the lowest creatinine of the admission if that is at most 1.1 mg/dL or a chronic kidney disease was coded, and
-- otherwise the creatinine at which the MDRD formula gives a filtration rate of 75 mL/min/1.73 m2.
--
-- source: Levey AS et al. Ann Intern Med 1999;130:461-470, doi:10.7326/0003-4819-130-6-199903160-00002
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/creatinine_baseline.sql
-- needs: chemistry
-- row: hadm_id
-- mimic-code: without subject_id, without time
-- differs: Creatinine taken after the discharge is left out.
-- columns:
--   subject_id      BIGINT     -      Patient.
--   hadm_id         BIGINT     -      Admission.
--   time            TIMESTAMP  -      When the admission ended.
--   available_time  TIMESTAMP  -      When its end, codes and results were known.
--   gender          VARCHAR    -      Sex, F or M.
--   age             BIGINT     a      Age at admission.
--   scr_min         DOUBLE     mg/dL  Lowest creatinine of the admission.
--   ckd             INTEGER    -      1 if a chronic kidney disease was coded, otherwise 0.
--   mdrd_est        DOUBLE     mg/dL  Creatinine by the MDRD formula.
--   scr_baseline    DOUBLE     mg/dL  Baseline creatinine.
WITH
adults AS (
  SELECT
    s.subject_id,
    s.hadm_id,
    s.end_time,
    s.end_available_time,
    p.sex,
    s.age,
    pow(75.0 / 186.0 / pow(s.age, -0.203) / CASE p.sex WHEN 'F' THEN 0.742 ELSE 1 END, -1 / 1.154) AS mdrd_est
  FROM stays AS s
  JOIN patients AS p ON p.subject_id = s.subject_id
  WHERE s.kind = 'admission' AND s.age >= 18 AND s.end_time IS NOT NULL
),
lowest AS (
  SELECT
    c.hadm_id,
    min(c.creatinine)     AS scr_min,
    max(c.available_time) AS available_time
  FROM chemistry AS c
  JOIN adults AS a ON a.hadm_id = c.hadm_id AND (c.time <= a.end_time OR as_mimic_code())
  WHERE c.creatinine IS NOT NULL
  GROUP BY c.hadm_id
),
kidney_disease AS (
  SELECT d.hadm_id, max(d.available_time) AS available_time
  FROM diagnoses AS d
  JOIN concept_diagnoses AS c ON d.icd_version = CAST(c.icd_version AS INTEGER) AND starts_with(d.icd_digits, c.prefix)
  WHERE d.kind = 'admission' AND c.concept = 'chronic_kidney_disease' AND c.category = 'any'
  GROUP BY d.hadm_id
)
SELECT
  a.subject_id,
  a.hadm_id,
  a.end_time
    AS time,
  greatest(
    a.end_available_time, l.available_time, k.available_time
  )   AS available_time,
  a.sex
    AS gender,
  a.age,
  l.scr_min,
  CAST(
    k.hadm_id IS NOT NULL AS INTEGER
  )   AS ckd,
  a.mdrd_est,
  CASE
    WHEN creatinine_baseline_normal_points(l.scr_min) = 1 OR k.hadm_id IS NOT NULL THEN l.scr_min ELSE a.mdrd_est
  END AS scr_baseline
FROM adults AS a
LEFT JOIN lowest AS l ON l.hadm_id = a.hadm_id
LEFT JOIN kidney_disease AS k ON k.hadm_id = a.hadm_id
