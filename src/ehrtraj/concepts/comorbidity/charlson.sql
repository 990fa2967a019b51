-- Charlson comorbidity index of each admission, from the diagnoses that were coded at its end.
--
-- The diagnoses include what happened during the admission. A comorbidity is 1 or 0; of a mild and a severe form only the
-- one with more points counts.
--
-- source: Charlson ME et al., J Chronic Dis 1987, doi:10.1016/0021-9681(87)90171-8
-- source: Charlson M et al., J Clin Epidemiol 1994, doi:10.1016/0895-4356(94)90129-5: the points of age
-- source: Quan H et al., Med Care 2005, doi:10.1097/01.mlr.0000182534.19832.83: the codes
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/comorbidity/charlson.sql
-- row: hadm_id
-- mimic-code: without time
-- columns:
--   subject_id                   BIGINT     -  Patient.
--   hadm_id                      BIGINT     -  Admission.
--   time                         TIMESTAMP  -  When the admission ended.
--   available_time               TIMESTAMP  -  When its diagnoses were known.
--   age_score                    INTEGER    -  Points of the age at admission.
--   myocardial_infarct           INTEGER    -  Myocardial infarction.
--   congestive_heart_failure     INTEGER    -  Heart failure.
--   peripheral_vascular_disease  INTEGER    -  Peripheral vascular disease.
--   cerebrovascular_disease      INTEGER    -  Cerebrovascular disease.
--   dementia                     INTEGER    -  Dementia.
--   chronic_pulmonary_disease    INTEGER    -  Chronic pulmonary disease.
--   rheumatic_disease            INTEGER    -  Rheumatic disease.
--   peptic_ulcer_disease         INTEGER    -  Peptic ulcer.
--   mild_liver_disease           INTEGER    -  Mild liver disease.
--   diabetes_without_cc          INTEGER    -  Diabetes without chronic complications.
--   diabetes_with_cc             INTEGER    -  Diabetes with chronic complications.
--   paraplegia                   INTEGER    -  Paraplegia or hemiplegia.
--   renal_disease                INTEGER    -  Renal disease.
--   malignant_cancer             INTEGER    -  Cancer, except of the skin.
--   severe_liver_disease         INTEGER    -  Moderate or severe liver disease.
--   metastatic_solid_tumor       INTEGER    -  Metastatic solid tumor.
--   aids                         INTEGER    -  AIDS.
--   charlson_comorbidity_index   INTEGER    -  Sum of all points.
WITH
codes AS (
  SELECT DISTINCT subject_id, hadm_id, icd_version, icd_digits
  FROM diagnoses
  WHERE kind = 'admission'
),
prefixes AS (
  SELECT subject_id, hadm_id, icd_version, left(icd_digits, unnest([3, 4, 5])) AS prefix
  FROM codes
),
found AS (
  SELECT DISTINCT p.subject_id, p.hadm_id, d.category
  FROM prefixes AS p
  JOIN concept_diagnoses AS d
    ON d.concept = 'charlson' AND CAST(d.icd_version AS INTEGER) = p.icd_version AND d.prefix = p.prefix
),
known AS (
  SELECT subject_id, hadm_id, max(available_time) AS available_time
  FROM diagnoses
  WHERE kind = 'admission'
  GROUP BY subject_id, hadm_id
),
admissions AS (
  SELECT
    s.subject_id,
    s.hadm_id,
    s.end_time                                                         AS time,
    greatest(s.available_time, s.end_available_time, k.available_time) AS available_time,
    CAST(charlson_age_points(s.age) AS INTEGER)                        AS age_score
  FROM stays AS s
  LEFT JOIN known AS k ON k.subject_id = s.subject_id AND k.hadm_id = s.hadm_id
  WHERE s.kind = 'admission' AND (s.end_available_time IS NOT NULL OR as_mimic_code())
),
flags AS (
  SELECT
    a.subject_id,
    a.hadm_id,
    a.time,
    a.available_time,
    a.age_score,
    CAST(coalesce(bool_or(f.category = 'myocardial_infarct'), false) AS INTEGER)        AS myocardial_infarct,
    CAST(coalesce(bool_or(f.category = 'congestive_heart_failure'), false) AS INTEGER)  AS congestive_heart_failure,
    CAST(coalesce(bool_or(f.category = 'peripheral_vascular_disease'), false) AS INTEGER)
      AS peripheral_vascular_disease,
    CAST(coalesce(bool_or(f.category = 'cerebrovascular_disease'), false) AS INTEGER)   AS cerebrovascular_disease,
    CAST(coalesce(bool_or(f.category = 'dementia'), false) AS INTEGER)                  AS dementia,
    CAST(coalesce(bool_or(f.category = 'chronic_pulmonary_disease'), false) AS INTEGER) AS chronic_pulmonary_disease,
    CAST(coalesce(bool_or(f.category = 'rheumatic_disease'), false) AS INTEGER)         AS rheumatic_disease,
    CAST(coalesce(bool_or(f.category = 'peptic_ulcer_disease'), false) AS INTEGER)      AS peptic_ulcer_disease,
    CAST(coalesce(bool_or(f.category = 'mild_liver_disease'), false) AS INTEGER)        AS mild_liver_disease,
    CAST(coalesce(bool_or(f.category = 'diabetes_without_cc'), false) AS INTEGER)       AS diabetes_without_cc,
    CAST(coalesce(bool_or(f.category = 'diabetes_with_cc'), false) AS INTEGER)          AS diabetes_with_cc,
    CAST(coalesce(bool_or(f.category = 'paraplegia'), false) AS INTEGER)                AS paraplegia,
    CAST(coalesce(bool_or(f.category = 'renal_disease'), false) AS INTEGER)             AS renal_disease,
    CAST(coalesce(bool_or(f.category = 'malignant_cancer'), false) AS INTEGER)          AS malignant_cancer,
    CAST(coalesce(bool_or(f.category = 'severe_liver_disease'), false) AS INTEGER)      AS severe_liver_disease,
    CAST(coalesce(bool_or(f.category = 'metastatic_solid_tumor'), false) AS INTEGER)    AS metastatic_solid_tumor,
    CAST(coalesce(bool_or(f.category = 'aids'), false) AS INTEGER)                      AS aids
  FROM admissions AS a
  LEFT JOIN found AS f ON f.subject_id = a.subject_id AND f.hadm_id = a.hadm_id
  GROUP BY ALL
)
SELECT
  *,
  age_score
  + charlson_myocardial_infarct_points(myocardial_infarct)
  + charlson_congestive_heart_failure_points(congestive_heart_failure)
  + charlson_peripheral_vascular_disease_points(peripheral_vascular_disease)
  + charlson_cerebrovascular_disease_points(cerebrovascular_disease)
  + charlson_dementia_points(dementia)
  + charlson_chronic_pulmonary_disease_points(chronic_pulmonary_disease)
  + charlson_rheumatic_disease_points(rheumatic_disease)
  + charlson_peptic_ulcer_disease_points(peptic_ulcer_disease)
  + charlson_paraplegia_points(paraplegia)
  + charlson_renal_disease_points(renal_disease)
  + charlson_aids_points(aids)
  + greatest(
    charlson_mild_liver_disease_points(mild_liver_disease), charlson_severe_liver_disease_points(severe_liver_disease)
  )
  + greatest(
    charlson_diabetes_without_cc_points(diabetes_without_cc), charlson_diabetes_with_cc_points(diabetes_with_cc)
  )
  + greatest(
    charlson_malignant_cancer_points(malignant_cancer), charlson_metastatic_solid_tumor_points(metastatic_solid_tumor)
  ) AS charlson_comorbidity_index
FROM flags
