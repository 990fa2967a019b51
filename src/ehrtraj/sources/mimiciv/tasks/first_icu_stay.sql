-- The first stay in intensive care of each adult, with the end of its admission. A patient has at most one of each event.
--   DERIVED//FIRST_ICU_STAY//START, HOSPITAL_END, HOSPITAL_DEATH
-- The admission ends at the discharge or at the death, whichever is earlier. Left out:
--   patients under 18 at the start of the stay, or whose year of birth is unknown
--   stays that start after the death: organ donors (MIT-LCP/mimic-code#1194)
--   stays of an admission without an end, or that ends before the stay starts (MIT-LCP/mimic-code#1691)
-- Deaths and ends are compared by the minute, because deathtime has no seconds. An admission that records a death counts
-- as one in which the patient died, even if the date of death does not confirm it (MIT-LCP/mimic-code#1406).
WITH icu_starts AS (
  SELECT
    subject_id,
    hadm_id,
    stay_id,
    time                                                               AS start_time,
    row_number() OVER (PARTITION BY subject_id ORDER BY time, stay_id) AS place
  FROM events
  WHERE split_part(code, '//', 1) = 'ICU_START'
), births AS (
  SELECT subject_id, year(min(time)) AS birth_year
  FROM events
  WHERE code = 'MEDS_BIRTH'
  GROUP BY subject_id
), deaths AS (
  SELECT subject_id, min(time) AS death_time
  FROM events
  WHERE code = 'MEDS_DEATH'
  GROUP BY subject_id
), hospital_deaths AS (
  SELECT subject_id, hadm_id, min(time) AS hospital_death
  FROM events
  WHERE code = 'HOSPITAL_DEATH'
  GROUP BY subject_id, hadm_id
), discharges AS (
  SELECT subject_id, hadm_id, max(time) AS discharge
  FROM events
  WHERE split_part(code, '//', 1) = 'DISCHARGE'
  GROUP BY subject_id, hadm_id
), stays AS (
  SELECT
    subject_id,
    hadm_id,
    stay_id,
    start_time,
    least(discharge, death_time, hospital_death)                                            AS end_time,
    hospital_death IS NOT NULL
    OR coalesce(date_trunc('minute', death_time) <= date_trunc('minute', discharge), false) AS died
  FROM icu_starts
  LEFT JOIN births USING (subject_id)
  LEFT JOIN deaths USING (subject_id)
  LEFT JOIN hospital_deaths USING (subject_id, hadm_id)
  LEFT JOIN discharges USING (subject_id, hadm_id)
  WHERE
    place = 1 AND year(start_time) - birth_year >= 18 AND start_time <= coalesce(death_time, start_time)
    AND coalesce(discharge, hospital_death) IS NOT NULL
)
SELECT
  subject_id,
  start_time                       AS time,
  'DERIVED//FIRST_ICU_STAY//START' AS code,
  NULL::FLOAT                      AS numeric_value,
  hadm_id,
  stay_id
FROM stays
WHERE end_time > start_time
UNION ALL
SELECT subject_id, end_time, 'DERIVED//FIRST_ICU_STAY//HOSPITAL_END', NULL, hadm_id, stay_id
FROM stays
WHERE end_time > start_time
UNION ALL
SELECT subject_id, end_time, 'DERIVED//FIRST_ICU_STAY//HOSPITAL_DEATH', NULL, hadm_id, stay_id
FROM stays
WHERE died AND end_time > start_time
