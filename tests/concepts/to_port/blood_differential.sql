-- White blood cells and their differential. A count is in 10*3/uL. A count that was not reported is computed from the
-- percentage, if white cells and at least one percentage are above zero.
WITH
counts AS (
  SELECT
    * EXCLUDE (value),
    CASE unit WHEN '/uL' THEN value / 1000 ELSE value END AS value
  FROM labs
  WHERE method = 'laboratory'
),
reported AS (
  SELECT
    max(subject_id)                                       AS subject_id,
    max(hadm_id) FILTER (NOT hadm_inferred)               AS hadm_id,
    max(time)                                             AS charttime,
    specimen_id,
    max(value) FILTER (concept = 'wbc')                   AS wbc,
    max(value) FILTER (concept = 'basophils_abs')         AS basophils_abs,
    max(value) FILTER (concept = 'eosinophils_abs')       AS eosinophils_abs,
    max(value) FILTER (concept = 'lymphocytes_abs')       AS lymphocytes_abs,
    max(value) FILTER (concept = 'monocytes_abs')         AS monocytes_abs,
    max(value) FILTER (concept = 'neutrophils_abs')       AS neutrophils_abs,
    max(value) FILTER (concept = 'basophils')             AS basophils,
    max(value) FILTER (concept = 'eosinophils')           AS eosinophils,
    max(value) FILTER (concept = 'lymphocytes')           AS lymphocytes,
    max(value) FILTER (concept = 'monocytes')             AS monocytes,
    max(value) FILTER (concept = 'neutrophils')           AS neutrophils,
    max(value) FILTER (concept = 'atypical_lymphocytes')  AS atypical_lymphocytes,
    max(value) FILTER (concept = 'bands')                 AS bands,
    max(value) FILTER (concept = 'immature_granulocytes') AS immature_granulocytes,
    max(value) FILTER (concept = 'metamyelocytes')        AS metamyelocytes,
    max(value) FILTER (concept = 'nrbc')                  AS nrbc,
    coalesce(max(value) FILTER (concept = 'wbc'), 0) > 0
    AND coalesce(
      sum(value) FILTER (concept IN ('basophils', 'eosinophils', 'lymphocytes', 'monocytes', 'neutrophils')),
      0
    ) > 0                                                 AS computable
  FROM counts
  WHERE
    value >= 0
    AND concept IN (
      'wbc', 'basophils_abs', 'eosinophils_abs', 'lymphocytes_abs', 'monocytes_abs', 'neutrophils_abs',
      'granulocytes_abs', 'basophils', 'eosinophils', 'lymphocytes', 'monocytes', 'neutrophils',
      'atypical_lymphocytes', 'bands', 'immature_granulocytes', 'metamyelocytes', 'nrbc'
    )
  GROUP BY specimen_id
)
SELECT
  * EXCLUDE (computable) REPLACE (
    round(coalesce(basophils_abs, CASE WHEN computable THEN basophils * wbc / 100 END), 4) AS basophils_abs,
    round(coalesce(eosinophils_abs, CASE WHEN computable THEN eosinophils * wbc / 100 END), 4) AS eosinophils_abs,
    round(coalesce(lymphocytes_abs, CASE WHEN computable THEN lymphocytes * wbc / 100 END), 4) AS lymphocytes_abs,
    round(coalesce(monocytes_abs, CASE WHEN computable THEN monocytes * wbc / 100 END), 4) AS monocytes_abs,
    round(coalesce(neutrophils_abs, CASE WHEN computable THEN neutrophils * wbc / 100 END), 4) AS neutrophils_abs
  )
FROM reported
