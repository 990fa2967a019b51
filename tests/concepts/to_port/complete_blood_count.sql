-- Blood count. A value of zero or less is not possible.
SELECT
  max(subject_id)                            AS subject_id,
  max(hadm_id) FILTER (NOT hadm_inferred)    AS hadm_id,
  max(time)                                  AS charttime,
  specimen_id,
  max(value) FILTER (concept = 'hematocrit') AS hematocrit,
  max(value) FILTER (concept = 'hemoglobin') AS hemoglobin,
  max(value) FILTER (concept = 'mch')        AS mch,
  max(value) FILTER (concept = 'mchc')       AS mchc,
  max(value) FILTER (concept = 'mcv')        AS mcv,
  max(value) FILTER (concept = 'platelet')   AS platelet,
  max(value) FILTER (concept = 'rbc')        AS rbc,
  max(value) FILTER (concept = 'rdw')        AS rdw,
  max(value) FILTER (concept = 'rdwsd')      AS rdwsd,
  max(value) FILTER (concept = 'wbc')        AS wbc
FROM labs
WHERE
  method = 'laboratory'
  AND concept IN ('hematocrit', 'hemoglobin', 'mch', 'mchc', 'mcv', 'platelet', 'rbc', 'rdw', 'rdwsd', 'wbc')
  AND value > 0
GROUP BY specimen_id
