-- hosp/patients: one patient per row: sex, the reference year of the age, the date of death.
-- If a patient has several rows, the smallest one is kept, comparing columns from left to right (null last), whatever
-- their order in the file: several rows would give several births.
-- rejected: duplicate_subject | EXISTS (FROM patients AS o WHERE o.subject_id = patients.subject_id AND row(o.gender, o.anchor_age, o.anchor_year, o.anchor_year_group, o.dod) < row(patients.gender, patients.anchor_age, patients.anchor_year, patients.anchor_year_group, patients.dod))

-- [every row] sex
SELECT
  subject_id,
  NULL::TIMESTAMP         AS time,
  'GENDER'                AS event_type,
  name_or_unknown(gender) AS item
FROM patients;

-- [also] the three calendar years that contain the true anchor_year: nothing more is known about the real period
SELECT
  subject_id,
  NULL::TIMESTAMP     AS time,
  'ANCHOR_YEAR_GROUP' AS event_type,
  anchor_year_group   AS item
FROM patients
WHERE nullif(trim(anchor_year_group), '') IS NOT NULL;

-- [also] birth, on the first day of its year: the completed years up to an event then equal MIMIC's definition
-- anchor_age + year(event) - anchor_year (mc#1231). Age 91 means above 89: the patient
-- may be 90, born a year later, or much older.
SELECT
  subject_id,
  TRY(make_timestamp(anchor_year - anchor_age, 1, 1, 0, 0, 0.0))  AS time,
  'MEDS_BIRTH'                                                    AS event_type,
  'year'                                                          AS time_precision,
  CASE WHEN anchor_age > 89 THEN flag('age_top_coded') ELSE 0 END AS flags,
  anchor_age,
  anchor_year
FROM patients
WHERE CAST(anchor_year AS BIGINT) - anchor_age BETWEEN 1 AND 9999;

-- [also] death, once: the hospital's time of death comes first (MIMIC documentation: its record wins over the state's).
-- If there is only the date of death, it is at the discharge of the admission that ends by death on that date, else at the
-- end of the day. Days are compared, not times (mc#1346, mc#1427). A death in the hospital without a deathtime that the
-- date contradicts is marked; if there is no date at all, HOSPITAL_DEATH alone records it (mc#1406)
SELECT
  p.subject_id,
  coalesce(d.deathtime, d.died_at, day_end(p.dod)) AS time,
  'MEDS_DEATH'                                     AS event_type,
  CASE
    WHEN coalesce(d.deathtime, d.died_at) IS NULL
      THEN 'day'
    ELSE 'minute'
  END                                              AS time_precision,
  coalesce(d.death_hadm_id, d.died_hadm_id)        AS hadm_id,
  CASE
    WHEN coalesce(d.conflict, false)
      THEN flag('death_conflict')
    ELSE 0
  END                                              AS flags,
  CASE
    WHEN CAST(d.deathtime AS DATE) <> CAST(p.dod AS DATE)
      THEN CAST(CAST(p.dod AS DATE) AS VARCHAR)
  END                                              AS dod
FROM (SELECT subject_id, min(dod) AS dod FROM patients GROUP BY subject_id) AS p
LEFT JOIN (
  SELECT
    a.subject_id,
    min(a.deathtime)                                   AS deathtime,
    arg_min(a.hadm_id, a.deathtime ORDER BY a.hadm_id) AS death_hadm_id,
    max(death_at_discharge(a.dischtime))
    FILTER (a.died_on_dod)                             AS died_at,
    arg_max(a.hadm_id, a.dischtime ORDER BY a.hadm_id)
    FILTER (a.died_on_dod)                             AS died_hadm_id,
    bool_or(a.conflict)                                AS conflict
  FROM (
    SELECT
      admissions.*,
      died_in_hospital(deathtime, hospital_expire_flag, discharge_location)
      AND CAST(dischtime AS DATE) = CAST(q.dod AS DATE) AS died_on_dod,
      died_in_hospital(deathtime, hospital_expire_flag, discharge_location)
      AND death_conflicts(deathtime, dischtime, q.dod)  AS conflict
    FROM admissions
    JOIN (SELECT subject_id, min(dod) AS dod FROM patients GROUP BY subject_id) AS q USING (subject_id)
  ) AS a
  GROUP BY a.subject_id
) AS d USING (subject_id)
WHERE d.deathtime IS NOT NULL OR p.dod IS NOT NULL;
