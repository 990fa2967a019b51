-- icu/icustays: one stay in intensive care a row, made by MIMIC from consecutive rows of transfers.
-- left out: los | outtime - intime in days
-- set aside: no_time | intime IS NULL

-- [every row] the start: only the unit of the start is known then
SELECT
  subject_id,
  intime                  AS time,
  'ICU_START'             AS domain,
  named(first_careunit)   AS item,
  hadm_id,
  stay_id,
  stay_id                 AS source_key,
  stay_id                 AS link_id
FROM icustays;

-- [also] the end: it may lie after the discharge (22 of 140 in the demo)
SELECT
  subject_id,
  outtime                 AS time,
  'ICU_END'               AS domain,
  named(last_careunit)    AS item,
  hadm_id,
  stay_id,
  CASE WHEN outtime < intime THEN flag('end_before_start') ELSE 0 END AS flags,
  stay_id                 AS source_key,
  stay_id                 AS link_id
FROM icustays
WHERE outtime IS NOT NULL;
