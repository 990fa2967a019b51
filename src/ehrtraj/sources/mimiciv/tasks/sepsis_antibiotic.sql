-- DERIVED//ANTIBIOTIC_GIVEN: each time at which a systemic antibiotic was given, according to an entry in the medication
-- record, or an infusion or push in intensive care. An order is not a dose given. antibiotics.csv defines antibiotics and
-- the entries that are doses.
-- DERIVED//SEPSIS_ANTIBIOTIC: those with a culture up to 72 hours before or 24 hours after, which defines a suspected
-- infection (Seymour CW et al., JAMA 2016;315(8):762-774). Any microbiology specimen counts as a culture, as in
-- mimic-code, mimic-iv/concepts/sepsis/suspicion_of_infection.sql.
-- Doses after the death are not used: organ donors are kept under treatment.
-- The medication record (EMAR) was introduced from 2011 to 2013: a missing entry before that has no meaning.
WITH entries AS (
  SELECT subject_id, time, split_part(code, '//', 2) AS entry, lower(split_part(code, '//', 3)) AS medication
  FROM events
  WHERE code LIKE 'EMAR//%' AND time IS NOT NULL
), given AS (
  SELECT subject_id, time
  FROM entries
  WHERE
    entry IN (SELECT text FROM antibiotics WHERE kind = 'entry')
    AND EXISTS (FROM antibiotics AS a WHERE a.kind = 'drug' AND contains(entries.medication, a.text))
    AND NOT EXISTS (FROM antibiotics AS a WHERE a.kind = 'not systemic' AND contains(entries.medication, a.text))
  UNION
  SELECT subject_id, time
  FROM events
  WHERE code IN (SELECT 'INPUT_START//' || text FROM antibiotics WHERE kind = 'itemid') AND time IS NOT NULL
), deaths AS (
  SELECT subject_id, min(time) AS death_time
  FROM events
  WHERE code = 'MEDS_DEATH'
  GROUP BY subject_id
), doses AS (
  SELECT subject_id, time
  FROM given
  LEFT JOIN deaths USING (subject_id)
  WHERE time <= coalesce(death_time, time)
), cultures AS (
  SELECT DISTINCT subject_id, time
  FROM events
  WHERE code LIKE 'MICRO\_SPECIMEN//%' ESCAPE '\' AND time IS NOT NULL
)
SELECT subject_id, time, 'DERIVED//ANTIBIOTIC_GIVEN' AS code, NULL::FLOAT AS numeric_value
FROM doses
UNION ALL
SELECT subject_id, time, 'DERIVED//SEPSIS_ANTIBIOTIC', NULL
FROM doses
WHERE EXISTS (
  FROM cultures AS c
  WHERE
    c.subject_id = doses.subject_id
    AND doses.time BETWEEN c.time - INTERVAL 24 HOURS AND c.time + INTERVAL 72 HOURS
)
