-- Orders of antibiotics that have ended, with the stay in intensive care during which an order starts.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/medication/antibiotic.sql
-- source: WHO ATC index, J01: antibiotics that their list lacks
-- needs: antibiotic_order
-- row: pharmacy_id, antibiotic, route, start
-- mimic-code: starttime = start, stoptime = end, without systemic, without pharmacy_id
-- differs: Daptomycin, ertapenem, imipenem, tigecycline and colistin are antibiotics; they lack them.
-- differs: A drug that an order contains in two strengths has one row; they have two.
-- differs: An order without an end has no row. antibiotic_order has it.
-- columns:
--   subject_id      BIGINT     -  Patient.
--   hadm_id         BIGINT     -  Admission.
--   stay_id         BIGINT     -  ICU stay; null if the order starts outside intensive care.
--   antibiotic      VARCHAR    -  Name as ordered.
--   route           VARCHAR    -  Route as ordered.
--   start           TIMESTAMP  -  When the order starts.
--   end             TIMESTAMP  -  When it ends; before the start if the source's times are reversed.
--   available_time  TIMESTAMP  -  When start and end were known.
--   systemic        BOOLEAN    -  Whether it acts in the whole body.
--   pharmacy_id     BIGINT     -  Order in the pharmacy.
WITH ends AS (
  SELECT subject_id, pharmacy_id, drug, max(end_time) AS end_time, max(end_available_time) AS available_time
  FROM orders
  GROUP BY subject_id, pharmacy_id, drug
)
SELECT
  a.subject_id,
  a.hadm_id,
  a.stay_id,
  a.antibiotic,
  a.route,
  a.time                                       AS start,
  e.end_time                                   AS "end",
  greatest(a.available_time, e.available_time) AS available_time,
  a.systemic,
  a.pharmacy_id
FROM antibiotic_order AS a
LEFT JOIN ends AS e ON e.subject_id = a.subject_id AND e.pharmacy_id = a.pharmacy_id AND e.drug = a.antibiotic
WHERE e.end_time IS NOT NULL OR as_mimic_code()
