-- hosp/drgcodes: the diagnosis-related groups billed for an admission, one row for each type (HCFA and APR).
-- They are derived from coded diagnoses after discharge: their time is the discharge, and they are not available before
-- it (mc#918).
-- rejected: no_code | nullif(trim(drg_code), '') IS NULL
-- rejected: no_admission | NOT EXISTS (FROM admissions AS a WHERE a.subject_id = drgcodes.subject_id AND a.hadm_id = drgcodes.hadm_id)
-- rejected: no_time | NOT EXISTS (FROM admissions AS a WHERE a.subject_id = drgcodes.subject_id AND a.hadm_id = drgcodes.hadm_id AND coalesce(a.dischtime, a.deathtime) IS NOT NULL)

-- [every row] a group. The meaning of a number changes between yearly lists: the description is kept as text
SELECT
  d.subject_id,
  stay_end(a.dischtime, a.deathtime)                      AS time,
  'DRG'                                                   AS event_type,
  name_or_unknown(d.drg_type) || '//' || trim(d.drg_code) AS item,
  collapse_spaces(d.description)                          AS text_value,
  'minute'                                                AS time_precision,
  d.hadm_id,
  flag('available_estimated')                             AS flags,
  d.hadm_id                                               AS link_id,
  collapse_spaces(d.description)                          AS code_description,
  d.drg_severity,
  d.drg_mortality
FROM drgcodes AS d
LEFT JOIN (
  SELECT subject_id, hadm_id, max(dischtime) AS dischtime, max(deathtime) AS deathtime
  FROM admissions
  GROUP BY subject_id, hadm_id
) AS a USING (subject_id, hadm_id);
