-- Cardiac markers, one specimen per row.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/cardiac_marker.sql
-- row: specimen_id
-- mimic-code: charttime = time
-- columns:
--   subject_id      BIGINT     -      Patient.
--   hadm_id         BIGINT     -      Admission, as the source recorded it.
--   time            TIMESTAMP  -      When the specimen was taken.
--   available_time  TIMESTAMP  -      When all results of the row were known.
--   specimen_id     BIGINT     -      Specimen.
--   troponin_t      DOUBLE     ng/mL  Troponin T.
--   ck_mb           DOUBLE     ng/mL  Creatine kinase, isoenzyme MB.
--   ntprobnp        DOUBLE     pg/mL  N-terminal pro-brain natriuretic peptide.
WITH results AS (
  SELECT
    * EXCLUDE (hadm_id),
    CASE WHEN NOT hadm_inferred THEN hadm_id END AS hadm_id
  FROM labs
  WHERE
    method = 'laboratory'
    AND concept IN ('troponin_t', 'ck_mb', 'ntprobnp')
    AND value IS NOT NULL
)
SELECT
  subject_id,
  max(hadm_id)                               AS hadm_id,
  time,
  max(available_time)                        AS available_time,
  specimen_id,
  max(value) FILTER (concept = 'troponin_t') AS troponin_t,
  max(value) FILTER (concept = 'ck_mb')      AS ck_mb,
  max(value) FILTER (concept = 'ntprobnp')   AS ntprobnp
FROM results
GROUP BY subject_id, specimen_id, event_time, time
