-- Elixhauser comorbidities of each admission, from the diagnoses that were coded at its end, and their score.
--
-- The diagnoses include the principal one and what happened during the admission. A comorbidity is 1 or 0; a mild form is
-- 0 if the severe form is coded.
--
-- source: Elixhauser A et al., Med Care 1998, doi:10.1097/00005650-199801000-00004
-- source: Quan H et al., Med Care 2005, doi:10.1097/01.mlr.0000182534.19832.83: the codes
-- source: van Walraven C et al., Med Care 2009, doi:10.1097/MLR.0b013e31819432e5: the score
-- row: hadm_id
-- columns:
--   subject_id                    BIGINT     -  Patient.
--   hadm_id                       BIGINT     -  Admission.
--   time                          TIMESTAMP  -  When the admission ended.
--   available_time                TIMESTAMP  -  When its diagnoses were known.
--   congestive_heart_failure      INTEGER    -  Heart failure.
--   cardiac_arrhythmias           INTEGER    -  Cardiac arrhythmias.
--   valvular_disease              INTEGER    -  Valvular disease.
--   pulmonary_circulation         INTEGER    -  Disorders of the pulmonary circulation.
--   peripheral_vascular           INTEGER    -  Peripheral vascular disorders.
--   hypertension_uncomplicated    INTEGER    -  Hypertension without complications; 0 with them.
--   hypertension_complicated      INTEGER    -  Hypertension with complications.
--   paralysis                     INTEGER    -  Paralysis.
--   other_neurological            INTEGER    -  Other neurological disorders.
--   chronic_pulmonary             INTEGER    -  Chronic pulmonary disease.
--   diabetes_uncomplicated        INTEGER    -  Diabetes without complications; 0 with them.
--   diabetes_complicated          INTEGER    -  Diabetes with complications.
--   hypothyroidism                INTEGER    -  Hypothyroidism.
--   renal_failure                 INTEGER    -  Renal failure.
--   liver_disease                 INTEGER    -  Liver disease.
--   peptic_ulcer                  INTEGER    -  Peptic ulcer without bleeding.
--   aids                          INTEGER    -  HIV and AIDS.
--   lymphoma                      INTEGER    -  Lymphoma.
--   metastatic_cancer             INTEGER    -  Metastatic cancer.
--   solid_tumor                   INTEGER    -  Solid tumor without metastases; 0 with them.
--   rheumatoid_arthritis          INTEGER    -  Rheumatoid arthritis and collagen vascular diseases.
--   coagulopathy                  INTEGER    -  Coagulopathy.
--   obesity                       INTEGER    -  Obesity.
--   weight_loss                   INTEGER    -  Weight loss.
--   fluid_electrolyte             INTEGER    -  Disorders of fluids and electrolytes.
--   blood_loss_anemia             INTEGER    -  Anemia by loss of blood.
--   deficiency_anemias            INTEGER    -  Anemia by deficiency.
--   alcohol_abuse                 INTEGER    -  Alcohol abuse.
--   drug_abuse                    INTEGER    -  Drug abuse.
--   psychoses                     INTEGER    -  Psychoses.
--   depression                    INTEGER    -  Depression.
--   elixhauser_van_walraven       INTEGER    -  Score of van Walraven, -19 to 89.
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
    ON d.concept = 'elixhauser' AND CAST(d.icd_version AS INTEGER) = p.icd_version AND d.prefix = p.prefix
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
    greatest(s.available_time, s.end_available_time, k.available_time) AS available_time
  FROM stays AS s
  LEFT JOIN known AS k ON k.subject_id = s.subject_id AND k.hadm_id = s.hadm_id
  WHERE s.kind = 'admission' AND s.end_available_time IS NOT NULL
),
flags AS (
  SELECT
    a.subject_id,
    a.hadm_id,
    a.time,
    a.available_time,
    CAST(
      coalesce(bool_or(f.category = 'congestive_heart_failure'), false) AS INTEGER
    ) AS congestive_heart_failure,
    CAST(
      coalesce(bool_or(f.category = 'cardiac_arrhythmias'), false) AS INTEGER
    ) AS cardiac_arrhythmias,
    CAST(
      coalesce(bool_or(f.category = 'valvular_disease'), false) AS INTEGER
    ) AS valvular_disease,
    CAST(
      coalesce(bool_or(f.category = 'pulmonary_circulation'), false) AS INTEGER
    ) AS pulmonary_circulation,
    CAST(
      coalesce(bool_or(f.category = 'peripheral_vascular'), false) AS INTEGER
    ) AS peripheral_vascular,
    CAST(
      coalesce(
        bool_or(f.category = 'hypertension_uncomplicated') AND NOT bool_or(f.category = 'hypertension_complicated'),
        false
      ) AS INTEGER
    ) AS hypertension_uncomplicated,
    CAST(
      coalesce(bool_or(f.category = 'hypertension_complicated'), false) AS INTEGER
    ) AS hypertension_complicated,
    CAST(
      coalesce(bool_or(f.category = 'paralysis'), false) AS INTEGER
    ) AS paralysis,
    CAST(
      coalesce(bool_or(f.category = 'other_neurological'), false) AS INTEGER
    ) AS other_neurological,
    CAST(
      coalesce(bool_or(f.category = 'chronic_pulmonary'), false) AS INTEGER
    ) AS chronic_pulmonary,
    CAST(
      coalesce(
        bool_or(f.category = 'diabetes_uncomplicated') AND NOT bool_or(f.category = 'diabetes_complicated'), false
      ) AS INTEGER
    ) AS diabetes_uncomplicated,
    CAST(
      coalesce(bool_or(f.category = 'diabetes_complicated'), false) AS INTEGER
    ) AS diabetes_complicated,
    CAST(
      coalesce(bool_or(f.category = 'hypothyroidism'), false) AS INTEGER
    ) AS hypothyroidism,
    CAST(
      coalesce(bool_or(f.category = 'renal_failure'), false) AS INTEGER
    ) AS renal_failure,
    CAST(
      coalesce(bool_or(f.category = 'liver_disease'), false) AS INTEGER
    ) AS liver_disease,
    CAST(
      coalesce(bool_or(f.category = 'peptic_ulcer'), false) AS INTEGER
    ) AS peptic_ulcer,
    CAST(
      coalesce(bool_or(f.category = 'aids'), false) AS INTEGER
    ) AS aids,
    CAST(
      coalesce(bool_or(f.category = 'lymphoma'), false) AS INTEGER
    ) AS lymphoma,
    CAST(
      coalesce(bool_or(f.category = 'metastatic_cancer'), false) AS INTEGER
    ) AS metastatic_cancer,
    CAST(
      coalesce(bool_or(f.category = 'solid_tumor') AND NOT bool_or(f.category = 'metastatic_cancer'), false) AS INTEGER
    ) AS solid_tumor,
    CAST(
      coalesce(bool_or(f.category = 'rheumatoid_arthritis'), false) AS INTEGER
    ) AS rheumatoid_arthritis,
    CAST(
      coalesce(bool_or(f.category = 'coagulopathy'), false) AS INTEGER
    ) AS coagulopathy,
    CAST(
      coalesce(bool_or(f.category = 'obesity'), false) AS INTEGER
    ) AS obesity,
    CAST(
      coalesce(bool_or(f.category = 'weight_loss'), false) AS INTEGER
    ) AS weight_loss,
    CAST(
      coalesce(bool_or(f.category = 'fluid_electrolyte'), false) AS INTEGER
    ) AS fluid_electrolyte,
    CAST(
      coalesce(bool_or(f.category = 'blood_loss_anemia'), false) AS INTEGER
    ) AS blood_loss_anemia,
    CAST(
      coalesce(bool_or(f.category = 'deficiency_anemias'), false) AS INTEGER
    ) AS deficiency_anemias,
    CAST(
      coalesce(bool_or(f.category = 'alcohol_abuse'), false) AS INTEGER
    ) AS alcohol_abuse,
    CAST(
      coalesce(bool_or(f.category = 'drug_abuse'), false) AS INTEGER
    ) AS drug_abuse,
    CAST(
      coalesce(bool_or(f.category = 'psychoses'), false) AS INTEGER
    ) AS psychoses,
    CAST(
      coalesce(bool_or(f.category = 'depression'), false) AS INTEGER
    ) AS depression
  FROM admissions AS a
  LEFT JOIN found AS f ON f.subject_id = a.subject_id AND f.hadm_id = a.hadm_id
  GROUP BY ALL
)
SELECT
  *,
  elixhauser_congestive_heart_failure_points(congestive_heart_failure)
  + elixhauser_cardiac_arrhythmias_points(cardiac_arrhythmias)
  + elixhauser_valvular_disease_points(valvular_disease)
  + elixhauser_pulmonary_circulation_points(pulmonary_circulation)
  + elixhauser_peripheral_vascular_points(peripheral_vascular)
  + elixhauser_paralysis_points(paralysis)
  + elixhauser_other_neurological_points(other_neurological)
  + elixhauser_chronic_pulmonary_points(chronic_pulmonary)
  + elixhauser_renal_failure_points(renal_failure)
  + elixhauser_liver_disease_points(liver_disease)
  + elixhauser_lymphoma_points(lymphoma)
  + elixhauser_metastatic_cancer_points(metastatic_cancer)
  + elixhauser_solid_tumor_points(solid_tumor)
  + elixhauser_coagulopathy_points(coagulopathy)
  + elixhauser_obesity_points(obesity)
  + elixhauser_weight_loss_points(weight_loss)
  + elixhauser_fluid_electrolyte_points(fluid_electrolyte)
  + elixhauser_blood_loss_anemia_points(blood_loss_anemia)
  + elixhauser_deficiency_anemias_points(deficiency_anemias)
  + elixhauser_drug_abuse_points(drug_abuse)
  + elixhauser_depression_points(depression) AS elixhauser_van_walraven
FROM flags
