-- Orders of antibiotics, with the stay in intensive care during which an order starts.
WITH antibiotic_orders AS (
  SELECT *
  FROM orders
  WHERE
    drug_type <> 'BASE'
    AND route NOT IN ('OU', 'OS', 'OD', 'AU', 'AS', 'AD', 'TP')
    AND NOT regexp_matches(lower(route), 'ear|eye')
    AND NOT regexp_matches(lower(drug), 'cream|desensitization|ophth oint|gel')
    AND EXISTS (FROM concept_drugs AS d WHERE d.concept = 'antibiotic' AND contains(lower(orders.drug), d.name_part))
)
SELECT
  o.subject_id,
  o.hadm_id,
  s.stay_id,
  o.drug       AS antibiotic,
  o.route,
  o.start_time AS starttime,
  o.end_time   AS stoptime
FROM antibiotic_orders AS o
LEFT JOIN stays AS s
  ON s.kind = 'icu' AND s.hadm_id = o.hadm_id AND o.start_time >= s.start_time AND o.start_time < s.end_time
