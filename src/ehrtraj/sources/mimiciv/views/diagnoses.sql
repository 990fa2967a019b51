-- Diagnoses, one code of an admission or of a visit to the emergency department per row. They are coded after the end of
-- the stay: available_time is when they can first be known.
SELECT
  subject_id,
  hadm_id,
  stay_id,
  time,
  event_time,
  available_time,
  CASE WHEN code LIKE 'ED%' THEN 'ed' ELSE 'admission' END                       AS kind,
  split_part(code, '//', 2)                                                      AS code_system,
  CASE split_part(code, '//', 2) WHEN 'ICD9CM' THEN 9 WHEN 'ICD10CM' THEN 10 END AS icd_version,
  split_part(code, '//', 3)                                                      AS icd_code,
  replace(split_part(code, '//', 3), '.', '')                                    AS icd_digits,
  CAST(attributes ->> '$.seq_num' AS INTEGER)                                    AS seq
FROM happened
WHERE code LIKE 'DIAGNOSIS//%' OR code LIKE 'ED\_DIAGNOSIS//%' ESCAPE '\'
