-- Orders of nonsteroidal anti-inflammatory drugs, with aspirin at any dose, that have ended.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/medication/nsaid.sql
-- row: pharmacy_id, nsaid, start
-- mimic-code: starttime = start, stoptime = end, without route, without pharmacy_id
-- differs: Ketorolac is one; their list lacks it.
-- differs: A drug that an order contains in two strengths has one row; they have two.
-- differs: An order without an end has no row.
-- columns:
--   subject_id      BIGINT     -  Patient.
--   hadm_id         BIGINT     -  Admission.
--   nsaid           VARCHAR    -  Name as ordered.
--   start           TIMESTAMP  -  When the order starts.
--   end             TIMESTAMP  -  When it ends; before the start if the source's times are reversed.
--   available_time  TIMESTAMP  -  When start and end were known.
--   route           VARCHAR    -  Route as ordered.
--   pharmacy_id     BIGINT     -  Order in the pharmacy.
WITH drug_names AS (
  SELECT DISTINCT d.drug
  FROM (SELECT DISTINCT drug FROM orders) AS d
  JOIN concept_drugs AS p ON contains(lower(d.drug), p.name_part)
  WHERE p.concept = 'nsaid' OR (p.concept = 'nsaid_added' AND NOT as_mimic_code())
)
SELECT
  o.subject_id,
  o.hadm_id,
  o.drug                                           AS nsaid,
  o.start_time                                     AS start,
  o.end_time                                       AS "end",
  greatest(o.available_time, o.end_available_time) AS available_time,
  o.route,
  o.pharmacy_id
FROM orders AS o
JOIN drug_names AS d ON d.drug = o.drug
WHERE o.end_time IS NOT NULL OR as_mimic_code()
QUALIFY
  as_mimic_code()
  OR row_number() OVER (
    PARTITION BY o.subject_id, o.pharmacy_id, o.drug, o.start_time ORDER BY available_time, o.route
  ) = 1
