-- Doses of systemic antibiotics that make an infection suspected: with a specimen for microbiology up to 72 hours before
-- or 24 hours after the dose.
--
-- Any specimen counts as a culture, as in mimic-code. suspicion_of_infection uses orders instead, as mimic-code does.
--
-- source: Seymour CW et al., JAMA 2016, doi:10.1001/jama.2016.0288
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/sepsis/suspicion_of_infection.sql
-- needs: antibiotic_dose
-- row: subject_id, time
-- columns:
--   subject_id      BIGINT     -    Patient.
--   time            TIMESTAMP  -    When the antibiotic was given.
--   available_time  TIMESTAMP  -    When the dose and the first of the specimens were known.
--   products        INTEGER    {#}  Number of antibiotics given.
SELECT
  d.subject_id,
  d.time,
  greatest(max(d.available_time), min(s.available_time)) AS available_time,
  max(d.products)                                        AS products
FROM antibiotic_dose AS d
JOIN specimens AS s
  ON
    s.subject_id = d.subject_id
    AND s.time >= d.time - INTERVAL 72 HOURS
    AND s.time <= d.time + INTERVAL 24 HOURS
GROUP BY d.subject_id, d.time
