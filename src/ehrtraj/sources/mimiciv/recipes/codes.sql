-- Descriptions of codes from the release's dictionaries. The build uses only those of codes that occur, and the first in
-- the order of texts if a code has several. A code with a unit after the item has the description of the item. The
-- parents of codes are in rules/code_forms.csv and concepts.csv.
WITH
-- An ICU item belongs to the table named in linksto. An interval has one code for its start and one for its end.
event_type_of (linksto, event_type) AS (
  VALUES
  ('chartevents', 'CHART'),
  ('datetimeevents', 'CHART_DATE'),
  ('outputevents', 'OUTPUT'),
  ('inputevents', 'INPUT_START'),
  ('inputevents', 'INPUT_END'),
  ('ingredientevents', 'INGREDIENT_START'),
  ('ingredientevents', 'INGREDIENT_END'),
  ('procedureevents', 'ICU_PROCEDURE_START'),
  ('procedureevents', 'ICU_PROCEDURE_END')
)
SELECT
  'LAB//' || itemid                       AS code,
  concat_ws(', ', label, fluid, category) AS description
FROM d_labitems
UNION ALL
SELECT event_type || '//' || itemid, label
FROM d_items
JOIN event_type_of USING (linksto)
UNION ALL
SELECT
  event_type || '//' || item,
  long_title
FROM (SELECT icd_diagnosis(icd_version, icd_code, '//') AS item, long_title FROM d_icd_diagnoses) AS d
CROSS JOIN (VALUES ('DIAGNOSIS'), ('ED_DIAGNOSIS')) AS billed (event_type)
UNION ALL
SELECT
  'PROCEDURE//' || icd_procedure(icd_version, icd_code, '//'),
  long_title
FROM d_icd_procedures
UNION ALL
SELECT
  'HCPCS//' || upper(trim(code)),
  coalesce(long_description, short_description)
FROM d_hcpcs
UNION ALL
SELECT
  'RADIOLOGY_DETAIL//cpt_code//' || upper(trim(code)),
  coalesce(long_description, short_description)
FROM d_hcpcs
WHERE category IS NOT NULL;
