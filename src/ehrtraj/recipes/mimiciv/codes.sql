-- What the release's own dictionaries say of the codes that the recipes form from them: one row a code.
WITH
-- An item of the ICU belongs to the table named in linksto: an interval has a code for its start and one for its end.
domain_of(linksto, domain) AS (
  VALUES
    ('chartevents',      'CHART'),
    ('datetimeevents',   'CHART_DATE'),
    ('outputevents',     'OUTPUT'),
    ('inputevents',      'INPUT_START'),
    ('inputevents',      'INPUT_END'),
    ('ingredientevents', 'INGREDIENT_START'),
    ('ingredientevents', 'INGREDIENT_END'),
    ('procedureevents',  'ICU_PROCEDURE_START'),
    ('procedureevents',  'ICU_PROCEDURE_END')
),
described AS (
  SELECT
    'LAB//' || itemid                      AS code,
    concat_ws(', ', label, fluid, category) AS description,
    NULL::VARCHAR[]                        AS parent_codes
  FROM d_labitems
  UNION ALL
  SELECT domain || '//' || itemid, label, NULL
  FROM d_items
  JOIN domain_of USING (linksto)
  UNION ALL
  SELECT
    'DIAGNOSIS//' || icd_diagnosis(icd_version, icd_code, '//'),
    long_title,
    [icd_diagnosis(icd_version, icd_code, '/')]
  FROM d_icd_diagnoses
  UNION ALL
  SELECT
    'PROCEDURE//' || icd_procedure(icd_version, icd_code, '//'),
    long_title,
    [icd_procedure(icd_version, icd_code, '/')]
  FROM d_icd_procedures
  UNION ALL
  -- Level I of HCPCS is CPT, in three categories: the codes without a category are level II.
  SELECT
    'HCPCS//' || upper(trim(code)),
    coalesce(long_description, short_description),
    [CASE WHEN category IN (1, 2, 3) THEN 'CPT4/' ELSE 'HCPCS/' END || upper(trim(code))]
  FROM d_hcpcs
)
SELECT
  code,
  min(description)  AS description,
  min(parent_codes) AS parent_codes
FROM described
WHERE code IS NOT NULL
GROUP BY code
ORDER BY code;
