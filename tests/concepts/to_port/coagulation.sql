-- Coagulation.
SELECT
  max(subject_id)                            AS subject_id,
  max(hadm_id) FILTER (NOT hadm_inferred)    AS hadm_id,
  max(time)                                  AS charttime,
  specimen_id,
  max(value) FILTER (concept = 'd_dimer')    AS d_dimer,
  max(value) FILTER (concept = 'fibrinogen') AS fibrinogen,
  max(value) FILTER (concept = 'thrombin')   AS thrombin,
  max(value) FILTER (concept = 'inr')        AS inr,
  max(value) FILTER (concept = 'pt')         AS pt,
  max(value) FILTER (concept = 'ptt')        AS ptt
FROM labs
WHERE
  method = 'laboratory'
  AND concept IN ('d_dimer', 'fibrinogen', 'thrombin', 'inr', 'pt', 'ptt')
  AND value IS NOT NULL
GROUP BY specimen_id
