-- hosp/diagnoses_icd: diagnoses billed for an admission, one a row.
-- Coders assign them after discharge, and do not say what was present on admission (mc#918, mc#954, mc#374):
-- they lie at the discharge and are not available before it.
-- set aside: no_code | nullif(trim(icd_code), '') IS NULL
-- set aside: no_admission | NOT EXISTS (FROM admissions AS a WHERE a.subject_id = diagnoses_icd.subject_id AND a.hadm_id = diagnoses_icd.hadm_id)
-- set aside: no_time | NOT EXISTS (FROM admissions AS a WHERE a.subject_id = diagnoses_icd.subject_id AND a.hadm_id = diagnoses_icd.hadm_id AND coalesce(a.dischtime, a.deathtime) IS NOT NULL)

-- [every row] a diagnosis: seq_num is its priority on the bill
SELECT
  d.subject_id,
  stay_end(a.dischtime, a.deathtime)              AS time,
  'DIAGNOSIS'                                     AS domain,
  icd_diagnosis(d.icd_version, d.icd_code, '//')  AS item,
  'minute'                                        AS time_precision,
  d.hadm_id,
  flag('available_estimated')                     AS flags,
  d.hadm_id                                       AS link_id,
  d.seq_num
FROM diagnoses_icd AS d
LEFT JOIN (
  SELECT subject_id, hadm_id, max(dischtime) AS dischtime, max(deathtime) AS deathtime
  FROM admissions
  GROUP BY subject_id, hadm_id
) AS a USING (subject_id, hadm_id);
