-- Blood gases with an oxygen tension, one specimen per row.
--
-- Inspired oxygen is that of the analyser or, without it, the last one charted in the four hours before. With the clock
-- `available` there is a row for each time at which a result became known, with all results that were known by then.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/bg.sql
-- row: subject_id, time
-- mimic-code: charttime = time, without specimen_id
-- columns:
--   subject_id         BIGINT     -           Patient.
--   hadm_id            BIGINT     -           Admission, as the source recorded it.
--   time               TIMESTAMP  -           When the specimen was taken.
--   available_time     TIMESTAMP  -           When all results of the row were known.
--   specimen_id        BIGINT     -           Specimen.
--   specimen           VARCHAR    -           Kind of blood: `ART.` for arterial, `VEN.` for venous.
--   so2                DOUBLE     %           Oxygen saturation.
--   po2                DOUBLE     mm[Hg]      Oxygen tension.
--   pco2               DOUBLE     mm[Hg]      Carbon dioxide tension.
--   fio2_chartevents   DOUBLE     %           Inspired oxygen, the last one charted in the four hours before.
--   fio2               DOUBLE     %           Inspired oxygen, as entered at the analyser.
--   aado2              DOUBLE     mm[Hg]      Alveolar-arterial oxygen difference, as reported.
--   aado2_calc         DOUBLE     mm[Hg]      Alveolar-arterial oxygen difference, computed.
--   pao2fio2ratio      DOUBLE     mm[Hg]      Ratio of oxygen tension to inspired oxygen (P/F ratio).
--   ph                 DOUBLE     [pH]        pH.
--   baseexcess         DOUBLE     mmol/L      Base excess.
--   bicarbonate        DOUBLE     mmol/L      Bicarbonate, computed by the analyser.
--   totalco2           DOUBLE     mmol/L      Total carbon dioxide, computed by the analyser.
--   hematocrit         DOUBLE     %           Hematocrit, computed by the analyser.
--   hemoglobin         DOUBLE     g/dL        Hemoglobin.
--   carboxyhemoglobin  DOUBLE     %           Carboxyhemoglobin.
--   methemoglobin      DOUBLE     %           Methemoglobin.
--   chloride           DOUBLE     mmol/L      Chloride.
--   calcium            DOUBLE     mmol/L      Free calcium.
--   temperature        DOUBLE     Cel         Body temperature, as entered at the analyser.
--   potassium          DOUBLE     mmol/L      Potassium.
--   sodium             DOUBLE     mmol/L      Sodium.
--   lactate            DOUBLE     mmol/L      Lactate.
--   glucose            DOUBLE     mg/dL       Glucose.
WITH
results AS (
  SELECT
    subject_id,
    specimen_id,
    event_time,
    time,
    available_time,
    concept,
    text_value,
    CASE WHEN NOT hadm_inferred THEN hadm_id END AS hadm_id,
    CASE concept
      WHEN 'fio2'
        THEN
          CASE
            WHEN plausible_blood_gas('fio2_percent', value) THEN value
            WHEN plausible_blood_gas('fio2_fraction', value) THEN value * 100
          END
      ELSE CASE WHEN plausible_blood_gas(concept, value) THEN value END
    END                                          AS value
  FROM labs
  WHERE method = 'blood_gas'
),
moments AS (
  SELECT DISTINCT subject_id, specimen_id, event_time, time
  FROM results
),
gases AS (
  SELECT
    m.subject_id,
    max(r.hadm_id)                                        AS hadm_id,
    m.time,
    max(r.available_time)                                 AS available_time,
    m.specimen_id,
    max(r.text_value) FILTER (r.concept = 'specimen')     AS specimen,
    max(r.value) FILTER (r.concept = 'so2')               AS so2,
    max(r.value) FILTER (r.concept = 'po2')               AS po2,
    max(r.value) FILTER (r.concept = 'pco2')              AS pco2,
    max(r.value) FILTER (r.concept = 'fio2')              AS fio2,
    max(r.value) FILTER (r.concept = 'aado2')             AS aado2,
    max(r.value) FILTER (r.concept = 'ph')                AS ph,
    max(r.value) FILTER (r.concept = 'baseexcess')        AS baseexcess,
    max(r.value) FILTER (r.concept = 'bicarbonate')       AS bicarbonate,
    max(r.value) FILTER (r.concept = 'totalco2')          AS totalco2,
    max(r.value) FILTER (r.concept = 'hematocrit')        AS hematocrit,
    max(r.value) FILTER (r.concept = 'hemoglobin')        AS hemoglobin,
    max(r.value) FILTER (r.concept = 'carboxyhemoglobin') AS carboxyhemoglobin,
    max(r.value) FILTER (r.concept = 'methemoglobin')     AS methemoglobin,
    max(r.value) FILTER (r.concept = 'chloride')          AS chloride,
    max(r.value) FILTER (r.concept = 'calcium')           AS calcium,
    max(r.value) FILTER (r.concept = 'temperature')       AS temperature,
    max(r.value) FILTER (r.concept = 'potassium')         AS potassium,
    max(r.value) FILTER (r.concept = 'sodium')            AS sodium,
    max(r.value) FILTER (r.concept = 'lactate')           AS lactate,
    max(r.value) FILTER (r.concept = 'glucose')           AS glucose
  FROM moments AS m
  JOIN results AS r
    ON
      r.subject_id = m.subject_id
      AND r.specimen_id = m.specimen_id
      AND r.event_time = m.event_time
      AND r.time <= m.time
  GROUP BY m.subject_id, m.specimen_id, m.event_time, m.time
  HAVING po2 IS NOT NULL
),
charted AS (
  SELECT
    subject_id,
    time,
    available_time,
    CASE
      WHEN plausible_inspired('fio2_percent', value) THEN value
      WHEN plausible_inspired('fio2_fraction', value) THEN value * 100
    END AS fio2
  FROM vitals
  WHERE event_type = 'CHART' AND concept = 'fio2'
),
inspired AS (
  SELECT subject_id, time, max(available_time) AS available_time, max(fio2) AS fio2
  FROM charted
  WHERE fio2 IS NOT NULL
  GROUP BY subject_id, time
),
with_inspired AS (
  SELECT
    g.*,
    CASE WHEN i.time >= g.time - INTERVAL 4 HOURS THEN i.fio2 END           AS fio2_chartevents,
    CASE WHEN i.time >= g.time - INTERVAL 4 HOURS THEN i.available_time END AS fio2_known,
    coalesce(g.fio2, fio2_chartevents) / 100                                AS fraction
  FROM gases AS g
  ASOF LEFT JOIN inspired AS i ON i.subject_id = g.subject_id AND i.time <= g.time
)
SELECT
  subject_id,
  hadm_id,
  time,
  greatest(available_time, fio2_known)     AS available_time,
  specimen_id,
  specimen,
  so2,
  po2,
  pco2,
  fio2_chartevents,
  fio2,
  aado2,
  fraction * (760 - 47) - pco2 / 0.8 - po2 AS aado2_calc,
  po2 / fraction                           AS pao2fio2ratio,
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
