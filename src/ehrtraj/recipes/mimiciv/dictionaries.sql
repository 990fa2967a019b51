-- The codes that the release's dictionaries have, as the recipes spell them: events of these domains whose code is not among
-- them get the flag code_unknown. A dictionary that the release lacks is empty here, and then no code is unknown. Of each
-- dictionary only the key columns are there.
SELECT DISTINCT domain, item
FROM (
  SELECT 'DIAGNOSIS' AS domain, icd_diagnosis(icd_version, icd_code, '//') AS item FROM d_icd_diagnoses
  UNION ALL
  SELECT 'PROCEDURE', icd_procedure(icd_version, icd_code, '//') FROM d_icd_procedures
  UNION ALL
  SELECT 'HCPCS', upper(trim(code)) FROM d_hcpcs
)
WHERE item IS NOT NULL;
