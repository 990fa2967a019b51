-- Complete blood count, one specimen per row. A value of zero or less is not possible.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/complete_blood_count.sql
-- row: specimen_id
-- mimic-code: charttime = time
-- differs: They use one item of white blood cells; other items, which blood_differential uses, are included here.
-- columns:
--   subject_id      BIGINT     -        Patient.
--   hadm_id         BIGINT     -        Admission, as the source recorded it.
--   time            TIMESTAMP  -        When the specimen was taken.
--   available_time  TIMESTAMP  -        When all results of the row were known.
--   specimen_id     BIGINT     -        Specimen.
--   hematocrit      DOUBLE     %        Hematocrit.
--   hemoglobin      DOUBLE     g/dL     Hemoglobin.
--   mch             DOUBLE     pg       Mean corpuscular hemoglobin.
--   mchc            DOUBLE     g/dL     Mean corpuscular hemoglobin concentration.
--   mcv             DOUBLE     fL       Mean corpuscular volume.
--   platelet        DOUBLE     10*3/uL  Platelets.
--   rbc             DOUBLE     10*6/uL  Red blood cells.
--   rdw             DOUBLE     %        Red cell distribution width.
--   rdwsd           DOUBLE     fL       Red cell distribution width, standard deviation.
--   wbc             DOUBLE     10*3/uL  White blood cells.
WITH results AS (
  SELECT
    * EXCLUDE (hadm_id),
    CASE WHEN NOT hadm_inferred THEN hadm_id END AS hadm_id
  FROM labs
  WHERE
    method = 'laboratory'
    AND plausible_blood_count(concept, value)
    AND NOT (
      as_mimic_code()
      AND item IN (SELECT item FROM concept_items WHERE concept = 'wbc' AND source LIKE '%/blood_differential.sql')
    )
)
SELECT
  subject_id,
  max(hadm_id)                               AS hadm_id,
  time,
  max(available_time)                        AS available_time,
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
FROM results
GROUP BY subject_id, specimen_id, event_time, time
