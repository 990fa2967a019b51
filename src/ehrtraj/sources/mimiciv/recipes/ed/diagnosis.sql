-- ed/diagnosis: diagnoses billed for a stay in the emergency department, one a row.
-- They have a separate event type: comorbidity indices are defined on the diagnoses of an admission.
-- Their time is the end of the stay (edstays.outtime), and they are not available before it. A code that is repeated on
-- the same bill is kept and flagged (mc#1927).
-- rejected: no_code | nullif(trim(icd_code), '') IS NULL
-- rejected: no_stay | NOT EXISTS (FROM ed_stay AS e WHERE e.subject_id = diagnosis.subject_id AND e.stay_id = diagnosis.stay_id)
-- rejected: no_time | NOT EXISTS (FROM ed_stay AS e WHERE e.subject_id = diagnosis.subject_id AND e.stay_id = diagnosis.stay_id AND e.outtime IS NOT NULL)

-- [every row] a diagnosis: seq_num is its priority on the bill
SELECT
  d.subject_id,
  e.outtime                                                             AS time,
  'ED_DIAGNOSIS'                                                        AS event_type,
  icd_diagnosis(d.icd_version, d.icd_code, '//')                        AS item,
  'minute'                                                              AS time_precision,
  e.hadm_id,
  d.stay_id,
  flag('available_estimated')
  + CASE WHEN d.seq_num > r.first THEN flag('repeated_code') ELSE 0 END AS flags,
  d.stay_id                                                             AS link_id,
  d.icd_title                                                           AS code_description,
  d.seq_num
FROM diagnosis AS d
LEFT JOIN ed_stay AS e USING (subject_id, stay_id)
LEFT JOIN (
  SELECT subject_id, stay_id, icd_version, bare_icd(icd_code) AS bare, min(seq_num) AS first
  FROM diagnosis
  GROUP BY ALL
  HAVING count(*) > 1
) AS r
  ON
    r.subject_id = d.subject_id
    AND r.stay_id = d.stay_id
    AND r.icd_version = d.icd_version
    AND r.bare = bare_icd(d.icd_code);
