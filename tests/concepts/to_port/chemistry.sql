-- Chemistry of blood. A value of zero or less is not possible, except for the anion gap.
SELECT
  max(subject_id)                                                AS subject_id,
  max(hadm_id) FILTER (NOT hadm_inferred)                        AS hadm_id,
  max(time)                                                      AS charttime,
  specimen_id,
  max(value) FILTER (concept = 'albumin' AND value <= 10)        AS albumin,
  max(value) FILTER (concept = 'globulin' AND value <= 10)       AS globulin,
  max(value) FILTER (concept = 'total_protein' AND value <= 20)  AS total_protein,
  max(value) FILTER (concept = 'aniongap' AND value <= 10000)    AS aniongap,
  max(value) FILTER (concept = 'bicarbonate' AND value <= 10000) AS bicarbonate,
  max(value) FILTER (concept = 'bun' AND value <= 300)           AS bun,
  max(value) FILTER (concept = 'calcium' AND value <= 10000)     AS calcium,
  max(value) FILTER (concept = 'chloride' AND value <= 10000)    AS chloride,
  max(value) FILTER (concept = 'creatinine' AND value <= 150)    AS creatinine,
  max(value) FILTER (concept = 'glucose' AND value <= 10000)     AS glucose,
  max(value) FILTER (concept = 'sodium' AND value <= 200)        AS sodium,
  max(value) FILTER (concept = 'potassium' AND value <= 30)      AS potassium
FROM labs
WHERE
  method = 'laboratory'
  AND concept IN (
    'albumin',
    'globulin',
    'total_protein',
    'aniongap',
    'bicarbonate',
    'bun',
    'calcium',
    'chloride',
    'creatinine',
    'glucose',
    'sodium',
    'potassium'
  )
  AND (value > 0 OR (value IS NOT NULL AND concept = 'aniongap'))
GROUP BY specimen_id
