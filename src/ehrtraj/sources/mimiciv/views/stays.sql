-- Admissions, stays in intensive care and visits to the emergency department, one per row.
-- An admission, an ICU stay and an ED visit end where the source's row ends, so end_time is null if the source has no
-- end, and before start_time if the source's times are reversed. A visit to the emergency department is that of
-- ed/edstays. A registration in hosp/admissions is used only if edstays does not contain the visit. The admission of a
-- patient who died ends at the death; recorded_end_time is the discharge that the source recorded for it.
-- All of its events are read at once: four passes over a file take four times as long.
WITH
used AS MATERIALIZED (
  SELECT
    split_part(code, '//', 1)             AS event_type,
    nullif(split_part(code, '//', 2), '') AS item,
    subject_id,
    hadm_id,
    stay_id,
    time,
    available_time,
    source_table,
    source_key,
    flags,
    attributes
  FROM happened
  WHERE
    split_part(code, '//', 1) IN (
      'ADMISSION', 'DISCHARGE', 'ICU_START', 'ICU_END', 'ED_ARRIVAL', 'ED_DEPARTURE', 'ED_REGISTRATION', 'ED_OUT',
      'HOSPITAL_DEATH', 'RACE'
    )
),
starts AS (
  SELECT
    CASE event_type WHEN 'ADMISSION' THEN 'admission' WHEN 'ICU_START' THEN 'icu' ELSE 'ed' END AS kind,
    *
  FROM used
  WHERE
    event_type IN ('ADMISSION', 'ICU_START', 'ED_ARRIVAL')
    OR (event_type = 'ED_REGISTRATION' AND stay_id IS NULL)
),
ends AS (
  SELECT
    CASE event_type WHEN 'DISCHARGE' THEN 'admission' WHEN 'ICU_END' THEN 'icu' ELSE 'ed' END AS kind,
    *
  FROM used
  WHERE event_type IN ('DISCHARGE', 'ICU_END', 'ED_DEPARTURE', 'ED_OUT')
),
of_admissions AS (
  SELECT
    subject_id,
    hadm_id,
    min(time) FILTER (event_type = 'HOSPITAL_DEATH')           AS death_time,
    min(available_time) FILTER (event_type = 'HOSPITAL_DEATH') AS available_time,
    min(item) FILTER (event_type = 'RACE')                     AS race
  FROM used
  WHERE event_type = 'HOSPITAL_DEATH' OR (event_type = 'RACE' AND source_table LIKE '%/admissions')
  GROUP BY subject_id, hadm_id
)
SELECT
  s.kind,
  s.subject_id,
  s.hadm_id,
  s.stay_id,
  s.time                                                                                         AS start_time,
  e.time                                                                                         AS end_time,
  s.available_time,
  e.available_time                                                                               AS end_available_time,
  CASE
    WHEN s.kind = 'admission' AND has_flag(e.flags, 'discharge_at_death')
      THEN CAST(e.attributes ->> '$.dischtime' AS TIMESTAMP)
    ELSE e.time
  END                                                                                            AS recorded_end_time,
  s.item                                                                                         AS start_item,
  e.item                                                                                         AS end_item,
  year(s.time) - p.birth_year                                                                    AS age,
  p.age_top_coded,
  row_number() OVER (PARTITION BY s.kind, s.subject_id ORDER BY s.time, s.source_key)            AS seq,
  d.death_time IS NOT NULL AND (s.kind = 'admission' OR coalesce(d.death_time <= e.time, false)) AS died,
  d.death_time,
  d.available_time
    AS death_available_time,
  d.race
FROM starts AS s
LEFT JOIN ends AS e USING (kind, subject_id, source_table, source_key)
LEFT JOIN of_admissions AS d ON d.subject_id = s.subject_id AND d.hadm_id = s.hadm_id
LEFT JOIN subjects AS p ON p.subject_id = s.subject_id
