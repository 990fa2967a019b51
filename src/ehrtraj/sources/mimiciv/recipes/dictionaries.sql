-- The codes of the release's dictionaries in the form used by the recipes. Events of these event types with any other
-- code get the flag code_unknown. A dictionary that is missing from the release is empty here, and no code of it counts
-- as unknown. Only the key columns of each dictionary are available. A code may be listed several times.
WITH diagnoses AS MATERIALIZED (
  SELECT icd_diagnosis(icd_version, icd_code, '//') AS item FROM d_icd_diagnoses
)
SELECT event_type, item
FROM (
  SELECT 'DIAGNOSIS' AS event_type, item FROM diagnoses
  UNION ALL
  SELECT 'ED_DIAGNOSIS', item FROM diagnoses
  UNION ALL
  SELECT 'PROCEDURE', icd_procedure(icd_version, icd_code, '//') FROM d_icd_procedures
  UNION ALL
  SELECT 'HCPCS', upper(trim(code)) FROM d_hcpcs
  UNION ALL
  SELECT 'LAB', CAST(itemid AS VARCHAR) FROM d_labitems
  UNION ALL
  -- The table in linksto does not matter: an item with a description is known.
  SELECT event_type, CAST(itemid AS VARCHAR)
  FROM d_items
  CROSS JOIN (
    VALUES ('CHART'), ('CHART_DATE'), ('OUTPUT'), ('INPUT_START'), ('INPUT_END'), ('INGREDIENT_START'),
    ('INGREDIENT_END'), ('ICU_PROCEDURE_START'), ('ICU_PROCEDURE_END')
  ) AS d (event_type)
) AS known
WHERE item IS NOT NULL;
