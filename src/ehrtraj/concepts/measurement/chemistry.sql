-- Chemistry of blood, one specimen per row. A value of zero or less is not possible, except for the anion gap.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/chemistry.sql
-- row: specimen_id
-- mimic-code: charttime = time
-- columns:
--   subject_id      BIGINT     -       Patient.
--   hadm_id         BIGINT     -       Admission, as the source recorded it.
--   time            TIMESTAMP  -       When the specimen was taken.
--   available_time  TIMESTAMP  -       When all results of the row were known.
--   specimen_id     BIGINT     -       Specimen.
--   albumin         DOUBLE     g/dL    Albumin.
--   globulin        DOUBLE     g/dL    Globulin.
--   total_protein   DOUBLE     g/dL    Total protein.
--   aniongap        DOUBLE     mmol/L  Anion gap.
--   bicarbonate     DOUBLE     mmol/L  Bicarbonate.
--   bun             DOUBLE     mg/dL   Blood urea nitrogen.
--   calcium         DOUBLE     mg/dL   Total calcium.
--   chloride        DOUBLE     mmol/L  Chloride.
--   creatinine      DOUBLE     mg/dL   Creatinine.
--   glucose         DOUBLE     mg/dL   Glucose.
--   sodium          DOUBLE     mmol/L  Sodium.
--   potassium       DOUBLE     mmol/L  Potassium.
WITH results AS (
  SELECT
    * EXCLUDE (hadm_id),
    CASE WHEN NOT hadm_inferred THEN hadm_id END AS hadm_id
  FROM labs
  WHERE method = 'laboratory' AND plausible_chemistry(concept, value)
)
SELECT
  subject_id,
  max(hadm_id)                                  AS hadm_id,
  time,
  max(available_time)                           AS available_time,
  specimen_id,
  max(value) FILTER (concept = 'albumin')       AS albumin,
  max(value) FILTER (concept = 'globulin')      AS globulin,
  max(value) FILTER (concept = 'total_protein') AS total_protein,
  max(value) FILTER (concept = 'aniongap')      AS aniongap,
  max(value) FILTER (concept = 'bicarbonate')   AS bicarbonate,
  max(value) FILTER (concept = 'bun')           AS bun,
  max(value) FILTER (concept = 'calcium')       AS calcium,
  max(value) FILTER (concept = 'chloride')      AS chloride,
  max(value) FILTER (concept = 'creatinine')    AS creatinine,
  max(value) FILTER (concept = 'glucose')       AS glucose,
  max(value) FILTER (concept = 'sodium')        AS sodium,
  max(value) FILTER (concept = 'potassium')     AS potassium
FROM results
GROUP BY subject_id, specimen_id, event_time, time
