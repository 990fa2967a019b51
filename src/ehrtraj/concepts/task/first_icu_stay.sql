-- The first stay in intensive care of each adult, with the end of its admission. A row is one of up to three moments.
--
-- The admission ends at the discharge or at the death, whichever is earlier. Left out:
-- patients under 18 at the start of the stay, or whose year of birth is unknown;
-- stays that start after the death: organ donors (MIT-LCP/mimic-code#1194);
-- stays of an admission without an end, or that ends before the stay starts (MIT-LCP/mimic-code#1691).
-- Deaths and ends are compared by the minute, because deathtime has no seconds. An admission that records a death counts
-- as one in which the patient died, even if the date of death does not confirm it (MIT-LCP/mimic-code#1406).
-- Only deaths known 24 hours after the end of the admission count, so that a row is final at that time.
--
-- source: project design, after MIT-LCP/mimic-code#1194, #1406 and #1691
-- row: stay_id, icu_start, hospital_end, hospital_death
-- columns:
--   subject_id      BIGINT     -  Patient.
--   hadm_id         BIGINT     -  Admission.
--   stay_id         BIGINT     -  ICU stay.
--   time            TIMESTAMP  -  Time of the moment.
--   available_time  TIMESTAMP  -  24 hours after the end of the admission was known.
--   icu_start       BOOLEAN    -  True at the start of the stay.
--   hospital_end    BOOLEAN    -  True at the end of the admission.
--   hospital_death  BOOLEAN    -  True at the end of an admission in which the patient died.
WITH
icu_starts AS (
  SELECT
    s.subject_id,
    s.hadm_id,
    s.stay_id,
    s.start_time,
    s.available_time,
    s.age,
    s.death_time,
    s.death_available_time
  FROM stays AS s
  WHERE s.kind = 'icu'
  QUALIFY row_number() OVER (PARTITION BY s.subject_id ORDER BY s.start_time, s.stay_id) = 1
),
discharges AS (
  SELECT subject_id, hadm_id, max(end_time) AS end_time, max(end_available_time) AS end_available_time
  FROM stays
  WHERE kind = 'admission'
  GROUP BY subject_id, hadm_id
),
finals AS (
  SELECT
    i.*,
    -- An admission without an end for 1,000 days is taken to have none.
    CASE WHEN d.end_available_time <= i.available_time + INTERVAL 1000 DAYS THEN d.end_time END AS discharge,
    least(d.end_available_time, i.available_time + INTERVAL 1000 DAYS) + INTERVAL 24 HOURS      AS final_time
  FROM icu_starts AS i
  LEFT JOIN discharges AS d ON d.subject_id = i.subject_id AND d.hadm_id = i.hadm_id
),
with_deaths AS (
  SELECT
    f.*,
    CASE WHEN f.death_available_time <= f.final_time THEN f.death_time END AS hospital_death_time,
    CASE WHEN p.available_time <= f.final_time THEN p.death_time END       AS patient_death_time
  FROM finals AS f
  LEFT JOIN patients AS p ON p.subject_id = f.subject_id
),
ended AS (
  SELECT
    w.*,
    least(
      w.discharge, w.patient_death_time, w.hospital_death_time
    ) AS end_time,
    w.hospital_death_time IS NOT NULL
    OR coalesce(
      date_trunc('minute', w.patient_death_time) <= date_trunc('minute', w.discharge), false
    ) AS died
  FROM with_deaths AS w
  WHERE
    w.age >= 18
    AND w.start_time <= coalesce(w.patient_death_time, w.start_time)
    AND coalesce(w.discharge, w.hospital_death_time) IS NOT NULL
)
SELECT
  e.subject_id,
  e.hadm_id,
  e.stay_id,
  CASE WHEN m.moment = 'icu_start' THEN e.start_time ELSE e.end_time END AS time,
  e.final_time                                                           AS available_time,
  CASE WHEN m.moment = 'icu_start' THEN true END                         AS icu_start,
  CASE WHEN m.moment = 'hospital_end' THEN true END                      AS hospital_end,
  CASE WHEN m.moment = 'hospital_death' THEN true END                    AS hospital_death
FROM ended AS e
CROSS JOIN (VALUES ('icu_start'), ('hospital_end'), ('hospital_death')) AS m (moment)
WHERE e.end_time > e.start_time AND (e.died OR m.moment <> 'hospital_death')
