-- Blood gases with a pO2. Inspired oxygen is that of the analyser or, without it, the last one charted in the four hours
-- before.
WITH
gases AS (
  SELECT
    max(subject_id)                                             AS subject_id,
    max(hadm_id) FILTER (NOT hadm_inferred)                     AS hadm_id,
    max(time)                                                   AS charttime,
    specimen_id,
    max(text_value) FILTER (concept = 'specimen')               AS specimen,
    max(value) FILTER (concept = 'so2' AND value <= 100)        AS so2,
    max(value) FILTER (concept = 'po2')                         AS po2,
    max(value) FILTER (concept = 'pco2')                        AS pco2,
    max(CASE WHEN value > 20 AND value <= 100 THEN value WHEN value > 0.2 AND value <= 1 THEN value * 100 END)
    FILTER (concept = 'fio2')                                   AS fio2,
    max(value) FILTER (concept = 'aado2')                       AS aado2,
    max(value) FILTER (concept = 'ph')                          AS ph,
    max(value) FILTER (concept = 'baseexcess')                  AS baseexcess,
    max(value) FILTER (concept = 'bicarbonate')                 AS bicarbonate,
    max(value) FILTER (concept = 'totalco2')                    AS totalco2,
    max(value) FILTER (concept = 'hematocrit' AND value <= 100) AS hematocrit,
    max(value) FILTER (concept = 'hemoglobin')                  AS hemoglobin,
    max(value) FILTER (concept = 'carboxyhemoglobin')           AS carboxyhemoglobin,
    max(value) FILTER (concept = 'methemoglobin')               AS methemoglobin,
    max(value) FILTER (concept = 'chloride')                    AS chloride,
    max(value) FILTER (concept = 'calcium')                     AS calcium,
    max(value) FILTER (concept = 'temperature')                 AS temperature,
    max(value) FILTER (concept = 'potassium')                   AS potassium,
    max(value) FILTER (concept = 'sodium')                      AS sodium,
    max(value) FILTER (concept = 'lactate' AND value <= 10000)  AS lactate,
    max(value) FILTER (concept = 'glucose' AND value <= 10000)  AS glucose
  FROM labs
  WHERE method = 'blood_gas'
  GROUP BY specimen_id
),
inspired AS (
  SELECT
    subject_id,
    time,
    max(CASE WHEN value > 0.2 AND value <= 1 THEN value * 100 WHEN value >= 20 AND value <= 100 THEN value END) AS fio2
  FROM vitals
  WHERE event_type = 'CHART' AND concept = 'fio2'
  GROUP BY subject_id, time
  HAVING fio2 IS NOT NULL
),
with_inspired AS (
  SELECT g.*, i.fio2 AS fio2_chartevents, coalesce(g.fio2, i.fio2) AS fio2_used
  FROM gases AS g
  LEFT JOIN inspired AS i
    ON i.subject_id = g.subject_id AND i.time BETWEEN g.charttime - INTERVAL 4 HOURS AND g.charttime
  WHERE g.po2 IS NOT NULL
  QUALIFY row_number() OVER (PARTITION BY g.specimen_id ORDER BY i.time DESC NULLS LAST) = 1
)
SELECT
  subject_id,
  hadm_id,
  charttime,
  specimen,
  so2,
  po2,
  pco2,
  fio2_chartevents,
  fio2,
  aado2,
  fio2_used / 100 * (760 - 47) - pco2 / 0.8 - po2 AS aado2_calc,
  100 * po2 / fio2_used                           AS pao2fio2ratio,
  ph,
  baseexcess,
  bicarbonate,
  totalco2,
  hematocrit,
  hemoglobin,
  carboxyhemoglobin,
  methemoglobin,
  chloride,
  calcium,
  temperature,
  potassium,
  sodium,
  lactate,
  glucose
FROM with_inspired
