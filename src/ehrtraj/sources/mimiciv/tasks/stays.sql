-- Admissions and stays in intensive care as tasks need them. ACES has no notion of a stay: a window that ends at the next
-- ICU_END may end with another stay. These events exist only for stays that do not overlap, so that the next END is the
-- end of the same stay.
--   DERIVED//HOSPITAL_STAY//START, END, DEATH and DERIVED//ICU_STAY//START, END, DEATH, DEATH_UNCERTAIN
--   DERIVED//DISCHARGE_ALIVE, DERIVED//ADMISSION_ALIVE: for readmissions
-- Start and end are matched by hadm_id or stay_id. A stay ends at its end or at the death, whichever is earlier. Left out:
--   stays that start after the death: organ donors (MIT-LCP/mimic-code#1194)
--   stays without an end, and stays that end before they start (MIT-LCP/mimic-code#1691)
--   stays that start or end during another one, because the tables disagree on where the patient was (#1520, #1726); a
--   short stay within a longer one does not change the longer one
-- Deaths and ends are compared by the minute, because deathtime has no seconds. An admission that records a death without
-- its time has HOSPITAL_DEATH at the discharge. If the date of death does not confirm it, a stay in intensive care that
-- ended before has DEATH_UNCERTAIN at its end (MIT-LCP/mimic-code#1406).
WITH halves AS (
  SELECT
    subject_id,
    time,
    hadm_id,
    CASE WHEN code LIKE 'ICU%' THEN 'ICU_STAY' ELSE 'HOSPITAL_STAY' END AS kind,
    CASE WHEN code LIKE 'ICU%' THEN stay_id ELSE hadm_id END            AS stay,
    split_part(code, '//', 1) IN ('ADMISSION', 'ICU_START')             AS is_start
  FROM events
  WHERE split_part(code, '//', 1) IN ('ADMISSION', 'DISCHARGE', 'ICU_START', 'ICU_END')
), recorded AS (
  SELECT
    subject_id,
    kind,
    stay,
    min(hadm_id)                    AS hadm_id,
    min(time) FILTER (is_start)     AS start_time,
    max(time) FILTER (NOT is_start) AS recorded_end
  FROM halves
  GROUP BY subject_id, kind, stay
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
), started_alive AS (
  SELECT
    subject_id,
    kind,
    stay,
    hadm_id,
    start_time,
    death_time,
    hospital_death,
    coalesce(recorded_end, CASE WHEN kind = 'HOSPITAL_STAY' THEN hospital_death END) AS recorded_end
  FROM recorded
  LEFT JOIN deaths USING (subject_id)
  LEFT JOIN hospital_deaths USING (subject_id, hadm_id)
  WHERE start_time <= coalesce(death_time, start_time)
), stays AS (
  SELECT
    subject_id,
    kind,
    stay,
    hadm_id,
    CASE WHEN kind = 'ICU_STAY' THEN stay END                                                      AS stay_id,
    start_time,
    least(recorded_end, death_time, hospital_death)                                                AS end_time,
    CASE
      WHEN kind = 'HOSPITAL_STAY' AND hospital_death IS NOT NULL THEN true
      ELSE
        coalesce(date_trunc('minute', least(death_time, hospital_death)) <= date_trunc('minute', recorded_end), false)
    END                                                                                            AS died,
    coalesce(CAST(hospital_death AS DATE) <> CAST(death_time AS DATE), hospital_death IS NOT NULL) AS uncertain
  FROM started_alive
  WHERE recorded_end >= start_time
), separate AS (
  SELECT *
  FROM stays AS s
  WHERE end_time > start_time AND NOT EXISTS (
    FROM stays AS o
    WHERE
      o.subject_id = s.subject_id AND o.kind = s.kind AND o.stay <> s.stay
      AND (
        (o.start_time < s.start_time AND o.end_time > s.start_time)
        OR (o.start_time < s.end_time AND o.end_time > s.end_time)
        OR (o.start_time = s.start_time AND o.end_time = s.end_time AND o.stay < s.stay)
      )
  )
), discharges AS (
  SELECT *
  FROM stays AS s
  WHERE kind = 'HOSPITAL_STAY' AND NOT died AND NOT EXISTS (
    FROM started_alive AS o
    WHERE
      o.subject_id = s.subject_id AND o.kind = s.kind AND o.stay <> s.stay
      AND (o.start_time = s.end_time OR (o.start_time < s.end_time AND o.recorded_end > s.end_time))
  )
)
SELECT
  subject_id,
  start_time                       AS time,
  'DERIVED//' || kind || '//START' AS code,
  NULL::FLOAT                      AS numeric_value,
  hadm_id,
  stay_id
FROM separate
UNION ALL
SELECT subject_id, end_time, 'DERIVED//' || kind || '//END', NULL, hadm_id, stay_id
FROM separate
UNION ALL
SELECT subject_id, end_time, 'DERIVED//' || kind || '//DEATH', NULL, hadm_id, stay_id
FROM separate
WHERE died
UNION ALL
SELECT subject_id, end_time, 'DERIVED//' || kind || '//DEATH_UNCERTAIN', NULL, hadm_id, stay_id
FROM separate
WHERE uncertain AND NOT died
UNION ALL
SELECT subject_id, end_time, 'DERIVED//DISCHARGE_ALIVE', NULL, hadm_id, NULL
FROM discharges
UNION ALL
SELECT subject_id, start_time, 'DERIVED//ADMISSION_ALIVE', NULL, hadm_id, NULL
FROM started_alive
WHERE kind = 'HOSPITAL_STAY'
