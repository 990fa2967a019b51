-- Facts about each person.
SELECT
  subject_id,
  person_id       AS subject_key,
  sex,
  born            AS birth_year,
  false           AS age_top_coded,
  died            AS death_time,
  NULL::TIMESTAMP AS followup_end
FROM person;
