-- Starts, ends and deaths of admissions and of stays in intensive care, as prediction tasks need them. A row is a moment.
--
-- ACES has no notion of a stay: a window that ends at the next end may end with another stay. The columns hospital_start to
-- icu_death_uncertain are therefore true only for stays that do not overlap, so that the next end is that of the same stay.
-- A stay ends at its end or at the death, whichever is earlier. Left out:
-- stays that start after the death: organ donors (MIT-LCP/mimic-code#1194);
-- stays without an end, and stays that end before they start (MIT-LCP/mimic-code#1691);
-- stays that start or end during another one, because the tables disagree on where the patient was (MIT-LCP/mimic-code#1520,
-- #1726). A short stay within a longer one does not change the longer one.
-- Deaths and ends are compared by the minute, because deathtime has no seconds. An admission can record a death without
-- its time. If the date of death does not confirm it, a stay in intensive care that ended before has icu_death_uncertain
-- at its end (MIT-LCP/mimic-code#1406).
-- A row is final 24 hours after the ends of its admission and of all stays that began before its end: only deaths known by
-- then count.
--
-- source: project design, after MIT-LCP/mimic-code#1194, #1406, #1520, #1691 and #1726
-- row: hadm_id, stay_id, hospital_start, hospital_end, hospital_death, icu_start, icu_end, icu_death, icu_death_uncertain,
--   admission_alive, discharge_alive
-- columns:
--   subject_id           BIGINT     -  Patient.
--   hadm_id              BIGINT     -  Admission.
--   stay_id              BIGINT     -  ICU stay; null for admissions.
--   time                 TIMESTAMP  -  Time of the moment.
--   available_time       TIMESTAMP  -  When the row was final.
--   hospital_start       BOOLEAN    -  True at the start of an admission that does not overlap another one.
--   hospital_end         BOOLEAN    -  True at the end of that admission.
--   hospital_death       BOOLEAN    -  True at the end of that admission if the patient died in it.
--   icu_start            BOOLEAN    -  True at the start of an ICU stay that does not overlap another one.
--   icu_end              BOOLEAN    -  True at the end of that stay.
--   icu_death            BOOLEAN    -  True at the end of that stay if the patient died in it.
--   icu_death_uncertain  BOOLEAN    -  True at the end of that stay before a death at an uncertain time in the same admission.
--   admission_alive      BOOLEAN    -  True at the start of each admission that starts before or at the death.
--   discharge_alive      BOOLEAN    -  True at a discharge of a patient who left the hospital alive.
WITH
halves AS (
  SELECT
    kind,
    subject_id,
    CASE WHEN kind = 'icu' THEN stay_id ELSE hadm_id END                                    AS stay,
    hadm_id,
    start_time,
    available_time,
    end_time,
    end_available_time,
    death_time,
    death_available_time,
    -- A stay without an end for 1,000 days is taken to have none.
    least(end_available_time, available_time + INTERVAL 1000 DAYS)                          AS end_known_time,
    max(end_known_time) FILTER (kind = 'admission') OVER (PARTITION BY subject_id, hadm_id) AS admission_known_time
  FROM stays
  WHERE kind IN ('admission', 'icu')
),
recorded AS (
  SELECT
    kind,
    subject_id,
    stay,
    min(hadm_id)                                                                 AS hadm_id,
    min(start_time)                                                              AS start_time,
    min(available_time)                                                          AS available_time,
    max(end_time) FILTER (end_available_time <= end_known_time)                  AS known_end_time,
    greatest(max(end_known_time), max(admission_known_time)) + INTERVAL 24 HOURS AS final_time,
    min(death_time)                                                              AS any_death_time,
    min(death_available_time)                                                    AS death_available_time
  FROM halves
  GROUP BY kind, subject_id, stay
),
started_alive AS (
  SELECT
    f.kind,
    f.subject_id,
    f.stay,
    f.hadm_id,
    f.start_time,
    f.available_time,
    f.final_time,
    CASE WHEN f.death_available_time <= f.final_time THEN f.any_death_time END         AS hospital_death,
    CASE WHEN p.available_time <= f.final_time THEN p.death_time END                   AS patient_death,
    coalesce(f.known_end_time, CASE WHEN f.kind = 'admission' THEN hospital_death END) AS recorded_end
  FROM recorded AS f
  LEFT JOIN patients AS p ON p.subject_id = f.subject_id
  WHERE f.start_time <= coalesce(patient_death, f.start_time)
),
ended AS (
  SELECT
    *,
    least(recorded_end, patient_death, hospital_death)                                                AS end_time,
    CASE
      WHEN kind = 'admission' AND hospital_death IS NOT NULL THEN true
      ELSE
        coalesce(
          date_trunc('minute', least(patient_death, hospital_death)) <= date_trunc('minute', recorded_end), false
        )
    END                                                                                               AS died,
    coalesce(CAST(hospital_death AS DATE) <> CAST(patient_death AS DATE), hospital_death IS NOT NULL) AS uncertain
  FROM started_alive
  WHERE recorded_end >= start_time
),
-- A stay has few others of the same patient.
with_others AS (
  SELECT
    s.kind,
    s.subject_id,
    s.stay,
    max(o.final_time) AS final_time,
    coalesce(bool_or(
      o.stay <> s.stay
      AND o.recorded_end >= o.start_time
      AND (
        (o.start_time < s.start_time AND o_end_time > s.start_time)
        OR (o.start_time < s.end_time AND o_end_time > s.end_time)
        OR (o.start_time = s.start_time AND o_end_time = s.end_time AND o.stay < s.stay)
      )
    ), false)         AS is_overlapped,
    coalesce(bool_or(
      o.stay <> s.stay
      AND (o.start_time = s.end_time OR (o.start_time < s.end_time AND o.recorded_end > s.end_time))
    ), false)         AS stays_in_hospital
  FROM ended AS s
  JOIN (
    SELECT *, least(recorded_end, patient_death, hospital_death) AS o_end_time
    FROM started_alive
  ) AS o ON o.subject_id = s.subject_id AND o.kind = s.kind AND o.start_time <= s.end_time
  GROUP BY s.kind, s.subject_id, s.stay
),
judged AS (
  SELECT
    s.*,
    w.final_time                                            AS known_time,
    w.stays_in_hospital,
    s.end_time > s.start_time AND NOT w.is_overlapped       AS is_separate,
    CASE WHEN s.kind = 'icu' THEN 'icu' ELSE 'hospital' END AS prefix
  FROM ended AS s
  JOIN with_others AS w ON w.kind = s.kind AND w.subject_id = s.subject_id AND w.stay = s.stay
),
moments AS (
  SELECT
    subject_id,
    hadm_id,
    CASE WHEN kind = 'icu' THEN stay END AS stay_id,
    known_time,
    start_time,
    end_time,
    unnest([
      CASE WHEN is_separate THEN prefix || '_start' END,
      CASE WHEN is_separate THEN prefix || '_end' END,
      CASE WHEN is_separate AND died THEN prefix || '_death' END,
      CASE WHEN is_separate AND kind = 'icu' AND uncertain AND NOT died THEN 'icu_death_uncertain' END,
      CASE WHEN kind = 'admission' AND NOT died AND NOT stays_in_hospital THEN 'discharge_alive' END
    ])                                   AS moment
  FROM judged
  UNION ALL
  SELECT subject_id, hadm_id, NULL, available_time, start_time, start_time AS end_time, 'admission_alive'
  FROM started_alive
  WHERE kind = 'admission'
)
SELECT
  subject_id,
  hadm_id,
  stay_id,
  CASE WHEN moment IN ('hospital_start', 'icu_start') THEN start_time ELSE end_time END AS time,
  known_time                                                                            AS available_time,
  CASE WHEN moment = 'hospital_start' THEN true END                                     AS hospital_start,
  CASE WHEN moment = 'hospital_end' THEN true END                                       AS hospital_end,
  CASE WHEN moment = 'hospital_death' THEN true END                                     AS hospital_death,
  CASE WHEN moment = 'icu_start' THEN true END                                          AS icu_start,
  CASE WHEN moment = 'icu_end' THEN true END                                            AS icu_end,
  CASE WHEN moment = 'icu_death' THEN true END                                          AS icu_death,
  CASE WHEN moment = 'icu_death_uncertain' THEN true END                                AS icu_death_uncertain,
  CASE WHEN moment = 'admission_alive' THEN true END                                    AS admission_alive,
  CASE WHEN moment = 'discharge_alive' THEN true END                                    AS discharge_alive
FROM moments
WHERE moment IS NOT NULL
