-- hosp/admissions: one stay in the hospital per row. A row becomes several events, each with only what was known then.
-- left out: admit_provider_id | who admitted the patient, not what happened to the patient
-- rejected: no_time | admittime IS NULL

-- [every row] the admission, and whether an earlier one had not yet ended (mc#1520)
SELECT
  a.subject_id,
  a.admittime                                AS time,
  'ADMISSION'                                AS event_type,
  name_or_unknown(a.admission_type)          AS item,
  'minute'                                   AS time_precision,
  a.hadm_id,
  CASE WHEN EXISTS (
    SELECT 1 FROM admissions AS o
    WHERE
      o.subject_id = a.subject_id AND o.hadm_id <> a.hadm_id
      AND o.admittime <= a.admittime AND stay_end(o.dischtime, o.deathtime) > a.admittime
  ) THEN flag('overlapping_stay') ELSE 0 END AS flags,
  a.hadm_id                                  AS source_key,
  a.hadm_id                                  AS link_id,
  a.admission_location
FROM admissions AS a;

-- [also] the registration in the emergency department: the same visit is in edstays and transfers
SELECT
  a.subject_id,
  a.edregtime                                                            AS time,
  'ED_REGISTRATION'                                                      AS event_type,
  'minute'                                                               AS time_precision,
  a.hadm_id,
  v.stay_id,
  CASE WHEN v.same_visit THEN flag('same_visit') ELSE 0 END
  + CASE WHEN v.conflict_at_start THEN flag('visit_conflict') ELSE 0 END AS flags,
  a.hadm_id                                                              AS source_key,
  a.hadm_id                                                              AS link_id,
  v.transfer_id
FROM admissions AS a
LEFT JOIN visits AS v ON v.recorded_in = 'hosp/admissions' AND v.subject_id = a.subject_id AND v.key = a.hadm_id
WHERE a.edregtime IS NOT NULL;

-- [also] the departure from the emergency department
SELECT
  a.subject_id,
  a.edouttime                                                                                 AS time,
  'ED_OUT'                                                                                    AS event_type,
  'minute'                                                                                    AS time_precision,
  a.hadm_id,
  v.end_stay_id                                                                               AS stay_id,
  CASE WHEN a.edouttime < a.edregtime THEN flag('end_before_start') ELSE 0 END
  + CASE WHEN v.same_visit THEN flag('same_visit') ELSE 0 END
  + CASE WHEN v.conflict_at_start OR v.conflict_at_end THEN flag('visit_conflict') ELSE 0 END AS flags,
  a.hadm_id                                                                                   AS source_key,
  a.hadm_id                                                                                   AS link_id,
  v.end_transfer_id                                                                           AS transfer_id
FROM admissions AS a
LEFT JOIN visits AS v ON v.recorded_in = 'hosp/admissions' AND v.subject_id = a.subject_id AND v.key = a.hadm_id
WHERE a.edouttime IS NOT NULL;

-- [also] race as recorded at this admission: it varies between admissions (mc#1236)
SELECT
  subject_id,
  admittime AS time,
  'RACE'    AS event_type,
  race      AS item,
  'minute'  AS time_precision,
  hadm_id,
  hadm_id   AS source_key,
  hadm_id   AS link_id
FROM admissions
WHERE nullif(trim(race), '') IS NOT NULL;

-- [also] language as recorded at this admission (until 3.0 it is ENGLISH or '?')
SELECT
  subject_id,
  admittime  AS time,
  'LANGUAGE' AS event_type,
  language   AS item,
  'minute'   AS time_precision,
  hadm_id,
  hadm_id    AS source_key,
  hadm_id    AS link_id
FROM admissions
WHERE nullif(trim(language), '') IS NOT NULL;

-- [also] marital status as recorded at this admission
SELECT
  subject_id,
  admittime        AS time,
  'MARITAL_STATUS' AS event_type,
  marital_status   AS item,
  'minute'         AS time_precision,
  hadm_id,
  hadm_id          AS source_key,
  hadm_id          AS link_id
FROM admissions
WHERE nullif(trim(marital_status), '') IS NOT NULL;

-- [also] insurance on the bill, which is known only at the end
SELECT
  subject_id,
  stay_end(dischtime, deathtime) AS time,
  'INSURANCE'                    AS event_type,
  insurance                      AS item,
  'minute'                       AS time_precision,
  hadm_id,
  hadm_id                        AS source_key,
  hadm_id                        AS link_id
FROM admissions
WHERE nullif(trim(insurance), '') IS NOT NULL AND coalesce(dischtime, deathtime) IS NOT NULL;

-- [also] the discharge. For a patient who died, dischtime may contain only the date, hours before deathtime. The
-- destination (DIED) is not known before the death, so the discharge is placed at the death and dischtime is kept as an
-- attribute. A discharge before the admission is not moved (mc#1691).
SELECT
  a.subject_id,
  stay_end(a.dischtime, a.deathtime)                      AS time,
  'DISCHARGE'                                             AS event_type,
  name_or_unknown(a.discharge_location)                   AS item,
  'minute'                                                AS time_precision,
  a.hadm_id,
  CASE WHEN stay_end(a.dischtime, a.deathtime) < a.admittime THEN flag('end_before_start') ELSE 0 END
  + CASE WHEN stay_end(a.dischtime, a.deathtime) > a.dischtime THEN flag('discharge_at_death') ELSE 0 END
  + CASE WHEN EXISTS (
    SELECT 1 FROM admissions AS o
    WHERE
      o.subject_id = a.subject_id AND o.hadm_id <> a.hadm_id
      AND o.admittime < stay_end(a.dischtime, a.deathtime) AND stay_end(o.dischtime, o.deathtime) > a.admittime
  ) THEN flag('overlapping_stay') ELSE 0 END              AS flags,
  a.hadm_id                                               AS source_key,
  a.hadm_id                                               AS link_id,
  a.hospital_expire_flag,
  nullif(a.dischtime, stay_end(a.dischtime, a.deathtime)) AS dischtime
FROM admissions AS a
WHERE a.dischtime IS NOT NULL;

-- [also] death in the hospital: at deathtime, else at the discharge of an admission that records a death. Where the date
-- of death in patients does not confirm it, the tables disagree (mc#1406: the maintainers cannot tell which is right)
SELECT
  a.subject_id,
  coalesce(a.deathtime, a.dischtime)                                                                AS time,
  'HOSPITAL_DEATH'                                                                                  AS event_type,
  'minute'                                                                                          AS time_precision,
  a.hadm_id,
  CASE WHEN death_conflicts(a.deathtime, a.dischtime, p.dod) THEN flag('death_conflict') ELSE 0 END AS flags,
  a.hadm_id                                                                                         AS source_key,
  a.hadm_id                                                                                         AS link_id
FROM admissions AS a
LEFT JOIN (SELECT subject_id, min(dod) AS dod FROM patients GROUP BY subject_id) AS p USING (subject_id)
WHERE
  died_in_hospital(a.deathtime, a.hospital_expire_flag, a.discharge_location)
  AND coalesce(a.deathtime, a.dischtime) IS NOT NULL;
