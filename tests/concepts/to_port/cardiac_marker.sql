-- Cardiac markers.
SELECT
  max(subject_id)                            AS subject_id,
  max(hadm_id) FILTER (NOT hadm_inferred)    AS hadm_id,
  max(time)                                  AS charttime,
  specimen_id,
  max(value) FILTER (concept = 'troponin_t') AS troponin_t,
  max(value) FILTER (concept = 'ck_mb')      AS ck_mb,
  max(value) FILTER (concept = 'ntprobnp')   AS ntprobnp
FROM labs
WHERE
  method = 'laboratory'
  AND concept IN ('troponin_t', 'ck_mb', 'ntprobnp')
  AND value IS NOT NULL
GROUP BY specimen_id
