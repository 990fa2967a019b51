-- Times at which a systemic antibiotic was given, according to the medication record or to an infusion or push in
-- intensive care. An order is not a dose given.
--
-- Doses after the death are not used: organ donors are kept under treatment. The medication record was introduced from
-- 2011 to 2013: a missing dose before that has no meaning.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/medication/antibiotic.sql: names of antibiotics
-- source: WHO ATC index, J01: antibiotics that their list lacks
-- row: subject_id, time
-- columns:
--   subject_id      BIGINT     -    Patient.
--   time            TIMESTAMP  -    When the antibiotic was given.
--   available_time  TIMESTAMP  -    When the dose was known.
--   products        INTEGER    {#}  Number of antibiotics given.
WITH
names AS (
  SELECT d.drug
  FROM (SELECT DISTINCT drug FROM drugs_given WHERE drug IS NOT NULL) AS d
  JOIN concept_drugs AS p ON contains(lower(d.drug), p.name_part)
  GROUP BY d.drug
  HAVING
    bool_or(p.concept IN ('antibiotic', 'antibiotic_added'))
    AND NOT bool_or(p.concept IN ('antibiotic_excluded', 'antibiotic_local', 'antibiotic_dose_excluded'))
),
given AS (
  SELECT g.subject_id, g.time, g.available_time, lower(g.drug) AS product
  FROM drugs_given AS g
  JOIN names AS n ON n.drug = g.drug
  JOIN concept_texts AS t ON t.concept = 'dose_given' AND t.text = g.action
  WHERE g.time IS NOT NULL
  UNION ALL
  SELECT subject_id, start_time, available_time, item
  FROM inputs
  WHERE concept = 'antibiotic'
)
SELECT
  g.subject_id,
  g.time,
  max(g.available_time)     AS available_time,
  count(DISTINCT g.product) AS products
FROM given AS g
LEFT JOIN patients AS p ON p.subject_id = g.subject_id
WHERE g.time <= coalesce(p.death_time, g.time)
GROUP BY g.subject_id, g.time
