-- ed/medrecon: drugs that the patient takes at home, as reported in the emergency department. They are not doses given.
-- There is one row for each class (etc_rn) of a drug: rows after the first repeat the drug.
-- rejected: no_time | charttime IS NULL

-- [every row] a drug that the patient reports taking: charttime is the time of the report, not of the intake
SELECT
  m.subject_id,
  m.charttime                                                           AS time,
  'HOME_DRUG'                                                           AS event_type,
  name_or_unknown(m.name)                                               AS item,
  'minute'                                                              AS time_precision,
  e.hadm_id,
  m.stay_id,
  CASE WHEN m.etc_rn > 1 THEN flag('repeated_drug') ELSE 0 END
  + CASE WHEN ndc_is_invalid(m.ndc) THEN flag('ndc_invalid') ELSE 0 END AS flags,
  m.stay_id                                                             AS link_id,
  nullif(m.gsn, '0')                                                    AS gsn,
  'NDC/' || ndc11(m.ndc)                                                AS code_parent,
  m.name                                                                AS code_drug,
  ndc_or_text(m.ndc)                                                    AS ndc,
  CASE WHEN ndc11(m.ndc) <> trim(m.ndc) THEN m.ndc END                  AS ndc_written,
  m.etc_rn,
  m.etccode,
  m.etcdescription
FROM medrecon AS m
LEFT JOIN ed_stay AS e USING (subject_id, stay_id);
