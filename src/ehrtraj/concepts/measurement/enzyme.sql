-- Enzymes and bilirubin, one specimen per row. A value of zero or less is not possible.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/enzyme.sql
-- row: specimen_id
-- mimic-code: charttime = time
-- columns:
--   subject_id          BIGINT     -      Patient.
--   hadm_id             BIGINT     -      Admission, as the source recorded it.
--   time                TIMESTAMP  -      When the specimen was taken.
--   available_time      TIMESTAMP  -      When all results of the row were known.
--   specimen_id         BIGINT     -      Specimen.
--   alt                 DOUBLE     U/L    Alanine aminotransferase.
--   alp                 DOUBLE     U/L    Alkaline phosphatase.
--   ast                 DOUBLE     U/L    Aspartate aminotransferase.
--   amylase             DOUBLE     U/L    Amylase.
--   bilirubin_total     DOUBLE     mg/dL  Total bilirubin.
--   bilirubin_direct    DOUBLE     mg/dL  Direct bilirubin.
--   bilirubin_indirect  DOUBLE     mg/dL  Indirect bilirubin.
--   ck_cpk              DOUBLE     U/L    Creatine kinase.
--   ck_mb               DOUBLE     ng/mL  Creatine kinase, isoenzyme MB.
--   ggt                 DOUBLE     U/L    Gamma-glutamyltransferase.
--   ld_ldh              DOUBLE     U/L    Lactate dehydrogenase.
WITH results AS (
  SELECT
    * EXCLUDE (hadm_id),
    CASE WHEN NOT hadm_inferred THEN hadm_id END AS hadm_id
  FROM labs
  WHERE
    method = 'laboratory'
    AND plausible_enzyme(concept, value)
)
SELECT
  subject_id,
  max(hadm_id)                                       AS hadm_id,
  time,
  max(available_time)                                AS available_time,
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
FROM results
GROUP BY subject_id, specimen_id, event_time, time
