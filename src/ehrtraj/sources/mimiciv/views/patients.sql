-- Patients, one per row: what is true at any time, and the death.
-- The year of birth is that of anchor_age. available_time is null without a death, and death_time is 23:59:59 if only the
-- day of the death is known.
SELECT
  subject_id,
  max(split_part(code, '//', 2)) FILTER (code LIKE 'GENDER//%')                           AS sex,
  year(min(time) FILTER (code = 'MEDS_BIRTH'))                                            AS birth_year,
  coalesce(bool_or(has_flag(flags, 'age_top_coded')) FILTER (code = 'MEDS_BIRTH'), false) AS age_top_coded,
  max(TRY_CAST(attributes ->> '$.anchor_age' AS INTEGER)) FILTER (code = 'MEDS_BIRTH')    AS anchor_age,
  max(TRY_CAST(attributes ->> '$.anchor_year' AS INTEGER)) FILTER (code = 'MEDS_BIRTH')   AS anchor_year,
  max(split_part(code, '//', 2)) FILTER (code LIKE 'ANCHOR\_YEAR\_GROUP//%' ESCAPE '\')   AS anchor_year_group,
  min(time) FILTER (code = 'MEDS_DEATH')                                                  AS death_time,
  min(available_time) FILTER (code = 'MEDS_DEATH')                                        AS available_time
FROM happened
WHERE
  code IN ('MEDS_BIRTH', 'MEDS_DEATH')
  OR code LIKE 'GENDER//%'
  OR code LIKE 'ANCHOR\_YEAR\_GROUP//%' ESCAPE '\'
GROUP BY subject_id
