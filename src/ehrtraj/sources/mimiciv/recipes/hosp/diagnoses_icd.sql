-- hosp/diagnoses_icd: diagnoses billed for an admission, one per row.
-- Coders assign them after discharge and do not record what was present on admission (mc#918, mc#954, mc#374). Their
-- time is the discharge, and they are not available before it. A code that is repeated on the same bill is kept and
-- flagged (mc#1927).
-- rejected: no_code | nullif(trim(icd_code), '') IS NULL
-- rejected: no_admission | NOT EXISTS (FROM admissions AS a WHERE a.subject_id = diagnoses_icd.subject_id AND a.hadm_id = diagnoses_icd.hadm_id)
-- rejected: no_time | NOT EXISTS (FROM admissions AS a WHERE a.subject_id = diagnoses_icd.subject_id AND a.hadm_id = diagnoses_icd.hadm_id AND coalesce(a.dischtime, a.deathtime) IS NOT NULL)

-- [every row] a diagnosis: seq_num is its priority on the bill
SELECT
  d.subject_id,
  stay_end(a.dischtime, a.deathtime)                                    AS time,
  'DIAGNOSIS'                                                           AS event_type,
  icd_diagnosis(d.icd_version, d.icd_code, '//')                        AS item,
  'minute'                                                              AS time_precision,
  d.hadm_id,
  flag('available_estimated')
  + CASE WHEN d.seq_num > r.first THEN flag('repeated_code') ELSE 0 END AS flags,
  d.hadm_id                                                             AS link_id,
  d.seq_num
FROM diagnoses_icd AS d
LEFT JOIN (
  SELECT subject_id, hadm_id, max(dischtime) AS dischtime, max(deathtime) AS deathtime
  FROM admissions
  GROUP BY subject_id, hadm_id
) AS a USING (subject_id, hadm_id)
LEFT JOIN (
  SELECT subject_id, hadm_id, icd_version, bare_icd(icd_code) AS bare, min(seq_num) AS first
  FROM diagnoses_icd
  GROUP BY ALL
  HAVING count(*) > 1
) AS r
  ON
    r.subject_id = d.subject_id
    AND r.hadm_id = d.hadm_id
    AND r.icd_version = d.icd_version
    AND r.bare = bare_icd(d.icd_code);
