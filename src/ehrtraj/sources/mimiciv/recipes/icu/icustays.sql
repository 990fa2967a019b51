-- icu/icustays: one stay in intensive care per row, derived by MIMIC from consecutive rows of transfers.
-- left out: los | outtime - intime in days
-- rejected: no_time | intime IS NULL

-- [every row] the start: only the first unit is known then, and whether another stay had not yet ended (mc#1726)
SELECT
  s.subject_id,
  s.intime                                   AS time,
  'ICU_START'                                AS event_type,
  name_or_unknown(s.first_careunit)          AS item,
  s.hadm_id,
  s.stay_id,
  CASE WHEN EXISTS (
    SELECT 1 FROM icustays AS o
    WHERE o.subject_id = s.subject_id AND o.stay_id <> s.stay_id AND o.intime <= s.intime AND o.outtime > s.intime
  ) THEN flag('overlapping_stay') ELSE 0 END AS flags,
  s.stay_id                                  AS source_key,
  s.stay_id                                  AS link_id
FROM icustays AS s;

-- [also] the end: it can be after the discharge, whose time is in minutes (21 of 140 in the demo)
SELECT
  s.subject_id,
  s.outtime                                  AS time,
  'ICU_END'                                  AS event_type,
  name_or_unknown(s.last_careunit)           AS item,
  s.hadm_id,
  s.stay_id,
  CASE WHEN s.outtime < s.intime THEN flag('end_before_start') ELSE 0 END
  + CASE WHEN date_trunc('minute', s.outtime) > a.ended THEN flag('end_after_discharge') ELSE 0 END
  + CASE WHEN EXISTS (
    SELECT 1 FROM icustays AS o
    WHERE o.subject_id = s.subject_id AND o.stay_id <> s.stay_id AND o.intime < s.outtime AND o.outtime > s.intime
  ) THEN flag('overlapping_stay') ELSE 0 END AS flags,
  s.stay_id                                  AS source_key,
  s.stay_id                                  AS link_id
FROM icustays AS s
LEFT JOIN (
  SELECT subject_id, hadm_id, max(stay_end(dischtime, deathtime)) AS ended
  FROM admissions
  GROUP BY subject_id, hadm_id
) AS a USING (subject_id, hadm_id)
WHERE s.outtime IS NOT NULL;
