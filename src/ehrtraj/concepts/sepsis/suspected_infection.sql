-- Suspected infection, without the results of the culture: a systemic antibiotic with a culture in the 72 hours before it
-- or the 24 hours after it.
--
-- A row is an antibiotic. The suspicion begins with the culture if it comes first, otherwise with the antibiotic. It is
-- known as soon as the antibiotic is ordered and the specimen is taken; `suspicion_of_infection` adds what was found. A
-- culture whose time of day is not recorded matches by date.
--
-- source: Seymour CW et al., JAMA 2016, doi:10.1001/jama.2016.0288
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/sepsis/suspicion_of_infection.sql
-- needs: antibiotic, antibiotic_order
-- row: subject_id, antibiotic, route, time, pharmacy_id
-- columns:
--   subject_id                BIGINT     -  Patient.
--   stay_id                   BIGINT     -  ICU stay; null if the antibiotic starts outside intensive care.
--   hadm_id                   BIGINT     -  Admission.
--   ab_id                     BIGINT     -  Number of the order among those of antibiotics of the patient, systemic or not.
--   antibiotic                VARCHAR    -  Name as ordered.
--   time                      TIMESTAMP  -  When the order of the antibiotic starts.
--   available_time            TIMESTAMP  -  When order and specimen were known, or 24 hours passed without a specimen.
--   suspected_infection       INTEGER    -  1 if there is a culture, else 0.
--   suspected_infection_time  TIMESTAMP  -  When the suspicion begins.
--   culture_time              TIMESTAMP  -  When the culture was taken, or the start of that day.
--   route                     VARCHAR    -  Route as ordered.
--   pharmacy_id               BIGINT     -  Order in the pharmacy.
WITH
chosen AS (
  SELECT
    subject_id, stay_id, hadm_id, antibiotic, route, time, available_time, systemic, pharmacy_id,
    NULL::TIMESTAMP AS end_time
  FROM antibiotic_order
  WHERE NOT as_mimic_code()
  UNION ALL
  SELECT subject_id, stay_id, hadm_id, antibiotic, NULL, start, available_time, true, NULL, "end"
  FROM antibiotic
  WHERE as_mimic_code()
),
antibiotics AS (
  SELECT
    * EXCLUDE (available_time),
    row_number() OVER w                                              AS ab_id,
    max(available_time) OVER (PARTITION BY subject_id ORDER BY time) AS available_time
  FROM chosen
  WINDOW w AS (
    PARTITION BY subject_id
    ORDER BY time, end_time NULLS FIRST, antibiotic, hadm_id NULLS FIRST, stay_id NULLS FIRST, route, pharmacy_id
  )
),
taken AS (
  SELECT
    subject_id,
    specimen_id,
    max(time)           AS time,
    max(available_time) AS available_time,
    bool_and(date_only) AS by_date
  FROM specimens
  GROUP BY
    subject_id, specimen_id, CASE WHEN NOT as_mimic_code() THEN event_time END,
    CASE WHEN NOT as_mimic_code() THEN time END
),
matched AS (
  SELECT
    a.subject_id,
    a.ab_id,
    c.available_time,
    CASE WHEN c.by_date THEN date_trunc('day', c.time) ELSE c.time END AS culture_time,
    CASE
      WHEN c.by_date
        THEN
          date_trunc('day', c.time) <= a.time
          AND date_trunc('day', a.time) <= date_trunc('day', c.time) + INTERVAL 3 DAYS
      ELSE c.time < a.time AND a.time <= c.time + INTERVAL 72 HOURS
    END                                                                AS is_before,
    CASE
      WHEN c.by_date THEN date_trunc('day', c.time) >= date_trunc('day', a.time)
      ELSE c.time > a.time
    END                                                                AS is_after,
    c.by_date,
    c.specimen_id
  FROM antibiotics AS a
  JOIN taken AS c
    ON
      c.subject_id = a.subject_id
      AND c.time >= a.time - INTERVAL 4 DAYS
      AND c.time < date_trunc('day', a.time) + INTERVAL 2 DAYS
      AND (c.by_date OR c.time <= a.time + INTERVAL 24 HOURS)
  WHERE is_before OR is_after
),
cultures_of AS (
  SELECT *
  FROM matched
  QUALIFY row_number() OVER (
    PARTITION BY subject_id, ab_id
    ORDER BY
      is_before DESC,
      date_trunc('day', culture_time),
      by_date ASC,
      culture_time ASC,
      specimen_id ASC
  ) = 1
)
SELECT
  a.subject_id,
  a.stay_id,
  a.hadm_id,
  a.ab_id,
  a.antibiotic,
  a.time,
  greatest(a.available_time, coalesce(c.available_time, a.time + INTERVAL 24 HOURS)) AS available_time,
  CAST(c.ab_id IS NOT NULL AS INTEGER)                                               AS suspected_infection,
  CASE WHEN c.is_before THEN c.culture_time WHEN c.ab_id IS NOT NULL THEN a.time END AS suspected_infection_time,
  c.culture_time,
  a.route,
  a.pharmacy_id
FROM antibiotics AS a
LEFT JOIN cultures_of AS c ON c.subject_id = a.subject_id AND c.ab_id = a.ab_id
WHERE a.systemic
