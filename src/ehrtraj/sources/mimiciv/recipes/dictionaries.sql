-- The codes that the release's dictionaries have, as the recipes spell them: events of these event types whose code is not among
-- them get the flag code_unknown. A dictionary that the release lacks is empty here, and then no code is unknown. Of each
-- dictionary only the key columns are there.
SELECT DISTINCT event_type, item
FROM (
  SELECT 'DIAGNOSIS' AS event_type, icd_diagnosis(icd_version, icd_code, '//') AS item FROM d_icd_diagnoses
  UNION ALL
  SELECT 'ED_DIAGNOSIS', icd_diagnosis(icd_version, icd_code, '//') FROM d_icd_diagnoses
  UNION ALL
  SELECT 'PROCEDURE', icd_procedure(icd_version, icd_code, '//') FROM d_icd_procedures
  UNION ALL
  SELECT 'HCPCS', upper(trim(code)) FROM d_hcpcs
  UNION ALL
  SELECT 'LAB', CAST(itemid AS VARCHAR) FROM d_labitems
  UNION ALL
  -- Whatever table linksto names: an item that is described there is known.
  SELECT event_type, CAST(itemid AS VARCHAR)
  FROM d_items
  CROSS JOIN (
    VALUES ('CHART'), ('CHART_DATE'), ('OUTPUT'), ('INPUT_START'), ('INPUT_END'), ('INGREDIENT_START'),
           ('INGREDIENT_END'), ('ICU_PROCEDURE_START'), ('ICU_PROCEDURE_END')
  ) AS d(event_type)
)
WHERE item IS NOT NULL;
