-- White blood cells and their differential, one specimen per row.
--
-- A count that was not reported is computed from the percentage, if white blood cells and at least one percentage are
-- above zero. With the clock `available` there is a row for each time at which a result became known, with all results
-- that were known by then.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/blood_differential.sql
-- row: specimen_id
-- mimic-code: charttime = time
-- columns:
--   subject_id             BIGINT     -        Patient.
--   hadm_id                BIGINT     -        Admission, as the source recorded it.
--   time                   TIMESTAMP  -        When the specimen was taken.
--   available_time         TIMESTAMP  -        When all results of the row were known.
--   specimen_id            BIGINT     -        Specimen.
--   wbc                    DOUBLE     10*3/uL  White blood cells.
--   basophils_abs          DOUBLE     10*3/uL  Basophils, count.
--   eosinophils_abs        DOUBLE     10*3/uL  Eosinophils, count.
--   lymphocytes_abs        DOUBLE     10*3/uL  Lymphocytes, count.
--   monocytes_abs          DOUBLE     10*3/uL  Monocytes, count.
--   neutrophils_abs        DOUBLE     10*3/uL  Neutrophils, count.
--   basophils              DOUBLE     %        Basophils.
--   eosinophils            DOUBLE     %        Eosinophils.
--   lymphocytes            DOUBLE     %        Lymphocytes.
--   monocytes              DOUBLE     %        Monocytes.
--   neutrophils            DOUBLE     %        Neutrophils.
--   atypical_lymphocytes   DOUBLE     %        Atypical lymphocytes.
--   bands                  DOUBLE     %        Band neutrophils.
--   immature_granulocytes  DOUBLE     %        Immature granulocytes.
--   metamyelocytes         DOUBLE     %        Metamyelocytes.
--   nrbc                   DOUBLE     %        Nucleated red blood cells per 100 white blood cells.
WITH
results AS (
  SELECT
    subject_id,
    specimen_id,
    event_time,
    time,
    available_time,
    concept,
    CASE WHEN NOT hadm_inferred THEN hadm_id END          AS hadm_id,
    CASE unit WHEN '/uL' THEN value / 1000 ELSE value END AS value
  FROM labs
  WHERE method = 'laboratory' AND plausible_blood_differential(concept, value)
),
moments AS (
  SELECT DISTINCT subject_id, specimen_id, event_time, time
  FROM results
),
reported AS (
  SELECT
    m.subject_id,
    max(r.hadm_id)                                                                        AS hadm_id,
    m.time,
    max(r.available_time)                                                                 AS available_time,
    m.specimen_id,
    max(r.value) FILTER (r.concept = 'wbc')                                               AS wbc,
    max(r.value) FILTER (r.concept = 'basophils_abs')                                     AS basophils_abs,
    max(r.value) FILTER (r.concept = 'eosinophils_abs')                                   AS eosinophils_abs,
    max(r.value) FILTER (r.concept = 'lymphocytes_abs')                                   AS lymphocytes_abs,
    max(r.value) FILTER (r.concept = 'monocytes_abs')                                     AS monocytes_abs,
    max(r.value) FILTER (r.concept = 'neutrophils_abs')                                   AS neutrophils_abs,
    max(r.value) FILTER (r.concept = 'basophils')                                         AS basophils,
    max(r.value) FILTER (r.concept = 'eosinophils')                                       AS eosinophils,
    max(r.value) FILTER (r.concept = 'lymphocytes')                                       AS lymphocytes,
    max(r.value) FILTER (r.concept = 'monocytes')                                         AS monocytes,
    max(r.value) FILTER (r.concept = 'neutrophils')                                       AS neutrophils,
    max(r.value) FILTER (r.concept = 'atypical_lymphocytes')                              AS atypical_lymphocytes,
    max(r.value) FILTER (r.concept = 'bands')                                             AS bands,
    max(r.value) FILTER (r.concept = 'immature_granulocytes')                             AS immature_granulocytes,
    max(r.value) FILTER (r.concept = 'metamyelocytes')                                    AS metamyelocytes,
    max(r.value) FILTER (r.concept = 'nrbc')                                              AS nrbc,
    wbc > 0 AND greatest(basophils, eosinophils, lymphocytes, monocytes, neutrophils) > 0 AS computable
  FROM moments AS m
  JOIN results AS r
    ON
      r.subject_id = m.subject_id
      AND r.specimen_id = m.specimen_id
      AND r.event_time = m.event_time
      AND r.time <= m.time
  GROUP BY m.subject_id, m.specimen_id, m.event_time, m.time
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
