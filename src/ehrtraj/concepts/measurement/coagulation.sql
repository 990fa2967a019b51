-- Coagulation, one specimen per row.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/coagulation.sql
-- row: specimen_id
-- mimic-code: charttime = time
-- columns:
--   subject_id      BIGINT     -           Patient.
--   hadm_id         BIGINT     -           Admission, as the source recorded it.
--   time            TIMESTAMP  -           When the specimen was taken.
--   available_time  TIMESTAMP  -           When all results of the row were known.
--   specimen_id     BIGINT     -           Specimen.
--   d_dimer         DOUBLE     ng/mL       D-dimer.
--   fibrinogen      DOUBLE     mg/dL       Fibrinogen.
--   thrombin        DOUBLE     s           Thrombin time.
--   inr             DOUBLE     {INR}       International normalized ratio.
--   pt              DOUBLE     s           Prothrombin time.
--   ptt             DOUBLE     s           Partial thromboplastin time.
WITH results AS (
  SELECT
    * EXCLUDE (hadm_id),
    CASE WHEN NOT hadm_inferred THEN hadm_id END AS hadm_id
  FROM labs
  WHERE
    method = 'laboratory'
    AND concept IN ('d_dimer', 'fibrinogen', 'thrombin', 'inr', 'pt', 'ptt')
    AND value IS NOT NULL
)
SELECT
  subject_id,
  max(hadm_id)                               AS hadm_id,
  time,
  max(available_time)                        AS available_time,
  specimen_id,
  max(value) FILTER (concept = 'd_dimer')    AS d_dimer,
  max(value) FILTER (concept = 'fibrinogen') AS fibrinogen,
  max(value) FILTER (concept = 'thrombin')   AS thrombin,
  max(value) FILTER (concept = 'inr')        AS inr,
  max(value) FILTER (concept = 'pt')         AS pt,
  max(value) FILTER (concept = 'ptt')        AS ptt
FROM results
GROUP BY subject_id, specimen_id, event_time, time
