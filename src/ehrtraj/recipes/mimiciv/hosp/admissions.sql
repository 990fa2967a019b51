-- hosp/admissions: one stay in the hospital a row. It is several events, each holding only what was known then.
-- left out: admit_provider_id | who admitted the patient, not what happened to the patient
-- set aside: no_time | admittime IS NULL

-- [every row] the admission
SELECT
  subject_id,
  admittime               AS time,
  'ADMISSION'             AS domain,
  named(admission_type)   AS item,
  'minute'                AS time_precision,
  hadm_id,
  hadm_id                 AS source_key,
  hadm_id                 AS link_id,
  admission_location
FROM admissions;

-- [also] the registration in the emergency department
SELECT
  subject_id,
  edregtime           AS time,
  'ED_REGISTRATION'   AS domain,
  'minute'            AS time_precision,
  hadm_id,
  hadm_id             AS source_key,
  hadm_id             AS link_id
FROM admissions
WHERE edregtime IS NOT NULL;

-- [also] the way out of the emergency department
SELECT
  subject_id,
  edouttime     AS time,
  'ED_OUT'      AS domain,
  'minute'      AS time_precision,
  hadm_id,
  CASE WHEN edouttime < edregtime THEN flag('end_before_start') ELSE 0 END AS flags,
  hadm_id       AS source_key,
  hadm_id       AS link_id
FROM admissions
WHERE edouttime IS NOT NULL;

-- [also] race as written down at this admission: it varies from one to the next (mc#1236)
SELECT
  subject_id,
  admittime     AS time,
  'RACE'        AS domain,
  race          AS item,
  'minute'      AS time_precision,
  hadm_id,
  hadm_id       AS source_key,
  hadm_id       AS link_id
FROM admissions
WHERE race IS NOT NULL;

-- [also] language, as written down at this admission (until 3.0 it is ENGLISH or '?')
SELECT
  subject_id,
  admittime     AS time,
  'LANGUAGE'    AS domain,
  language      AS item,
  'minute'      AS time_precision,
  hadm_id,
  hadm_id       AS source_key,
  hadm_id       AS link_id
FROM admissions
WHERE language IS NOT NULL;

-- [also] marital status, as written down at this admission
SELECT
  subject_id,
  admittime           AS time,
  'MARITAL_STATUS'    AS domain,
  marital_status      AS item,
  'minute'            AS time_precision,
  hadm_id,
  hadm_id             AS source_key,
  hadm_id             AS link_id
FROM admissions
WHERE marital_status IS NOT NULL;

-- [also] insurance: that of the bill, known only at the end
SELECT
  subject_id,
  stay_end(dischtime, deathtime)    AS time,
  'INSURANCE'                       AS domain,
  insurance                         AS item,
  'minute'                          AS time_precision,
  hadm_id,
  hadm_id                           AS source_key,
  hadm_id                           AS link_id
FROM admissions
WHERE insurance IS NOT NULL AND coalesce(dischtime, deathtime) IS NOT NULL;

-- [also] the discharge. Of a patient who died, dischtime may hold no more than the date, hours before deathtime: where to
-- (DIED) is not known before the death, so the discharge then lies at the death, and keeps its dischtime beside it.
-- A discharge before the admission stays where it is (mc#1691).
SELECT
  subject_id,
  stay_end(dischtime, deathtime)    AS time,
  'DISCHARGE'                       AS domain,
  named(discharge_location)         AS item,
  'minute'                          AS time_precision,
  hadm_id,
  CASE WHEN stay_end(dischtime, deathtime) < admittime THEN flag('end_before_start') ELSE 0 END
    + CASE WHEN stay_end(dischtime, deathtime) > dischtime THEN flag('discharge_at_death') ELSE 0 END AS flags,
  hadm_id                           AS source_key,
  hadm_id                           AS link_id,
  hospital_expire_flag,
  nullif(dischtime, stay_end(dischtime, deathtime)) AS dischtime
FROM admissions
WHERE dischtime IS NOT NULL;

-- [also] death in the hospital
SELECT
  subject_id,
  deathtime           AS time,
  'HOSPITAL_DEATH'    AS domain,
  'minute'            AS time_precision,
  hadm_id,
  hadm_id             AS source_key,
  hadm_id             AS link_id
FROM admissions
WHERE deathtime IS NOT NULL;
