-- Starts of orders of antibiotics, with the stay in intensive care during which an order starts.
--
-- A row is known when the order is; antibiotic has the ends too. Orders for eye, ear and skin are left out, as in
-- mimic-code. systemic is false for what acts in one place only: in the nose, in the lung, in a catheter, or in the gut
-- without being absorbed, such as oral vancomycin.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/medication/antibiotic.sql
-- source: Johnson S et al., Clin Infect Dis 2021, doi:10.1093/cid/ciab549
-- row: pharmacy_id, antibiotic, route, time
-- columns:
--   subject_id      BIGINT     -  Patient.
--   hadm_id         BIGINT     -  Admission.
--   stay_id         BIGINT     -  ICU stay; null if the order starts outside intensive care.
--   antibiotic      VARCHAR    -  Name as ordered.
--   route           VARCHAR    -  Route as ordered.
--   time            TIMESTAMP  -  When the order starts.
--   available_time  TIMESTAMP  -  When the order was known.
--   systemic        BOOLEAN    -  Whether it acts in the whole body.
--   pharmacy_id     BIGINT     -  Order in the pharmacy.
WITH
given AS (
  SELECT subject_id, hadm_id, pharmacy_id, drug, route, start_time, available_time
  FROM orders
  WHERE drug_type <> 'BASE'
  -- An order can contain a drug in two strengths.
  QUALIFY
    as_mimic_code()
    OR row_number() OVER (PARTITION BY subject_id, pharmacy_id, drug, route, start_time ORDER BY available_time) = 1
),
drug_names AS (
  SELECT
    d.drug,
    bool_or(p.concept = 'antibiotic_local')        AS is_local,
    bool_or(p.concept = 'antibiotic_not_absorbed') AS is_not_absorbed
  FROM (SELECT DISTINCT drug FROM given) AS d
  JOIN concept_drugs AS p ON contains(lower(d.drug), p.name_part)
  GROUP BY d.drug
  HAVING
    bool_or(p.concept = 'antibiotic' OR (p.concept = 'antibiotic_added' AND NOT as_mimic_code()))
    AND NOT bool_or(p.concept = 'antibiotic_excluded')
),
routes AS (
  SELECT
    r.route,
    coalesce(bool_or(t.concept = 'route_local'), false)   AS is_local,
    coalesce(bool_or(t.concept = 'route_enteral'), false) AS is_enteral
  FROM (SELECT DISTINCT route FROM given WHERE route IS NOT NULL) AS r
  LEFT JOIN concept_texts AS t
    ON
      t.concept IN ('route_excluded', 'route_local', 'route_enteral') AND t.text = r.route
      OR t.concept = 'route_part_excluded' AND contains(lower(r.route), t.text)
  GROUP BY r.route
  HAVING NOT coalesce(bool_or(t.concept IN ('route_excluded', 'route_part_excluded')), false)
),
icu_stays AS (
  SELECT
    subject_id,
    hadm_id,
    stay_id,
    start_time,
    -- A stay without an end is running.
    CASE WHEN as_mimic_code() THEN end_time ELSE coalesce(end_time, 'infinity'::TIMESTAMP) END AS end_time
  FROM stays
  WHERE kind = 'icu'
)
SELECT
  g.subject_id,
  g.hadm_id,
  s.stay_id,
  g.drug                                                                AS antibiotic,
  g.route,
  g.start_time                                                          AS time,
  g.available_time,
  not(d.is_local OR r.is_local OR (d.is_not_absorbed AND r.is_enteral)) AS systemic,
  g.pharmacy_id
FROM given AS g
JOIN drug_names AS d ON d.drug = g.drug
JOIN routes AS r ON r.route = g.route
LEFT JOIN icu_stays AS s
  ON
    s.subject_id = g.subject_id
    AND s.hadm_id = g.hadm_id
    AND g.start_time >= s.start_time
    AND g.start_time < s.end_time
