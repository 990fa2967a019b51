-- Markers of inflammation, one specimen per row.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/inflammation.sql
-- row: specimen_id
-- mimic-code: charttime = time
-- columns:
--   subject_id      BIGINT     -     Patient.
--   hadm_id         BIGINT     -     Admission, as the source recorded it.
--   time            TIMESTAMP  -     When the specimen was taken.
--   available_time  TIMESTAMP  -     When all results of the row were known.
--   specimen_id     BIGINT     -     Specimen.
--   crp             DOUBLE     mg/L  C-reactive protein.
WITH results AS (
  SELECT
    * EXCLUDE (hadm_id),
    CASE WHEN NOT hadm_inferred THEN hadm_id END AS hadm_id
  FROM labs
  WHERE
    method = 'laboratory'
    AND plausible_inflammation(concept, value) AND unit = 'mg/L'
)
SELECT
  subject_id,
  max(hadm_id)                        AS hadm_id,
  time,
  max(available_time)                 AS available_time,
  specimen_id,
  max(value) FILTER (concept = 'crp') AS crp
FROM results
GROUP BY subject_id, specimen_id, event_time, time
