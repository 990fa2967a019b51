-- Enzymes and bilirubin. A value of zero or less is not possible.
SELECT
  max(subject_id)                                    AS subject_id,
  max(hadm_id) FILTER (NOT hadm_inferred)            AS hadm_id,
  max(time)                                          AS charttime,
  specimen_id,
  max(value) FILTER (concept = 'alt')                AS alt,
  max(value) FILTER (concept = 'alp')                AS alp,
  max(value) FILTER (concept = 'ast')                AS ast,
  max(value) FILTER (concept = 'amylase')            AS amylase,
  max(value) FILTER (concept = 'bilirubin_total')    AS bilirubin_total,
  max(value) FILTER (concept = 'bilirubin_direct')   AS bilirubin_direct,
  max(value) FILTER (concept = 'bilirubin_indirect') AS bilirubin_indirect,
  max(value) FILTER (concept = 'ck_cpk')             AS ck_cpk,
  max(value) FILTER (concept = 'ck_mb')              AS ck_mb,
  max(value) FILTER (concept = 'ggt')                AS ggt,
  max(value) FILTER (concept = 'ld_ldh')             AS ld_ldh
FROM labs
WHERE
  method = 'laboratory'
  AND concept IN (
    'alt',
    'alp',
    'ast',
    'amylase',
    'bilirubin_total',
    'bilirubin_direct',
    'bilirubin_indirect',
    'ck_cpk',
    'ck_mb',
    'ggt',
    'ld_ldh'
  )
  AND value > 0
GROUP BY specimen_id
