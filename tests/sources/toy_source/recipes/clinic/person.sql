-- clinic/person: one person per row.

-- [every row] sex
SELECT
  subject_id,
  NULL::TIMESTAMP          AS time,
  'SEX'                    AS event_type,
  coalesce(sex, 'UNKNOWN') AS item,
  person_id
FROM person;

-- [also] birth, on the first day of its year
SELECT
  subject_id,
  make_timestamp(born, 1, 1, 0, 0, 0.0) AS time,
  'MEDS_BIRTH'                          AS event_type,
  'year'                                AS time_precision
FROM person
WHERE born IS NOT NULL;

-- [also] death
SELECT
  subject_id,
  died         AS time,
  'MEDS_DEATH' AS event_type
FROM person
WHERE died IS NOT NULL;
