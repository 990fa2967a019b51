-- Arterial blood gases of the first day of an ICU stay, from six hours before its start.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/firstday/first_day_bg_art.sql
-- needs: bg
-- row: stay_id
-- mimic-code: without start, without end
-- columns:
--   subject_id             BIGINT     -       Patient.
--   stay_id                BIGINT     -       ICU stay.
--   start                  TIMESTAMP  -       Start of the stay.
--   end                    TIMESTAMP  -       24 hours after the start of the stay.
--   available_time         TIMESTAMP  -       When the first day was over and all its values were known.
--   lactate_min            DOUBLE     mmol/L  Lowest lactate.
--   lactate_max            DOUBLE     mmol/L  Highest lactate.
--   ph_min                 DOUBLE     [pH]    Lowest pH.
--   ph_max                 DOUBLE     [pH]    Highest pH.
--   so2_min                DOUBLE     %       Lowest oxygen saturation.
--   so2_max                DOUBLE     %       Highest oxygen saturation.
--   po2_min                DOUBLE     mm[Hg]  Lowest oxygen tension.
--   po2_max                DOUBLE     mm[Hg]  Highest oxygen tension.
--   pco2_min               DOUBLE     mm[Hg]  Lowest carbon dioxide tension.
--   pco2_max               DOUBLE     mm[Hg]  Highest carbon dioxide tension.
--   aado2_min              DOUBLE     mm[Hg]  Lowest alveolar-arterial oxygen difference, as reported.
--   aado2_max              DOUBLE     mm[Hg]  Highest alveolar-arterial oxygen difference, as reported.
--   aado2_calc_min         DOUBLE     mm[Hg]  Lowest alveolar-arterial oxygen difference, computed.
--   aado2_calc_max         DOUBLE     mm[Hg]  Highest alveolar-arterial oxygen difference, computed.
--   pao2fio2ratio_min      DOUBLE     mm[Hg]  Lowest ratio of oxygen tension to inspired oxygen (P/F ratio).
--   pao2fio2ratio_max      DOUBLE     mm[Hg]  Highest ratio of oxygen tension to inspired oxygen (P/F ratio).
--   baseexcess_min         DOUBLE     mmol/L  Lowest base excess.
--   baseexcess_max         DOUBLE     mmol/L  Highest base excess.
--   bicarbonate_min        DOUBLE     mmol/L  Lowest bicarbonate, computed by the analyser.
--   bicarbonate_max        DOUBLE     mmol/L  Highest bicarbonate, computed by the analyser.
--   totalco2_min           DOUBLE     mmol/L  Lowest total carbon dioxide, computed by the analyser.
--   totalco2_max           DOUBLE     mmol/L  Highest total carbon dioxide, computed by the analyser.
--   hematocrit_min         DOUBLE     %       Lowest hematocrit, computed by the analyser.
--   hematocrit_max         DOUBLE     %       Highest hematocrit, computed by the analyser.
--   hemoglobin_min         DOUBLE     g/dL    Lowest hemoglobin.
--   hemoglobin_max         DOUBLE     g/dL    Highest hemoglobin.
--   carboxyhemoglobin_min  DOUBLE     %       Lowest carboxyhemoglobin.
--   carboxyhemoglobin_max  DOUBLE     %       Highest carboxyhemoglobin.
--   methemoglobin_min      DOUBLE     %       Lowest methemoglobin.
--   methemoglobin_max      DOUBLE     %       Highest methemoglobin.
--   temperature_min        DOUBLE     Cel     Lowest body temperature, as entered at the analyser.
--   temperature_max        DOUBLE     Cel     Highest body temperature, as entered at the analyser.
--   chloride_min           DOUBLE     mmol/L  Lowest chloride.
--   chloride_max           DOUBLE     mmol/L  Highest chloride.
--   calcium_min            DOUBLE     mmol/L  Lowest free calcium.
--   calcium_max            DOUBLE     mmol/L  Highest free calcium.
--   glucose_min            DOUBLE     mg/dL   Lowest glucose.
--   glucose_max            DOUBLE     mg/dL   Highest glucose.
--   potassium_min          DOUBLE     mmol/L  Lowest potassium.
--   potassium_max          DOUBLE     mmol/L  Highest potassium.
--   sodium_min             DOUBLE     mmol/L  Lowest sodium.
--   sodium_max             DOUBLE     mmol/L  Highest sodium.
WITH
days AS (
  SELECT subject_id, stay_id, start_time, start_time + INTERVAL 24 HOURS AS end_time, available_time
  FROM stays
  WHERE kind = 'icu'
),
arterial AS (
  SELECT bg.*
  FROM bg
  JOIN concept_texts AS t ON t.concept = 'specimen' AND t.meaning = 'arterial' AND t.text = bg.specimen
)
SELECT
  d.subject_id,
  d.stay_id,
  d.start_time                                                  AS start,
  d.end_time                                                    AS "end",
  greatest(d.end_time, d.available_time, max(v.available_time)) AS available_time,
  min(v.lactate)                                                AS lactate_min,
  max(v.lactate)                                                AS lactate_max,
  min(v.ph)                                                     AS ph_min,
  max(v.ph)                                                     AS ph_max,
  min(v.so2)                                                    AS so2_min,
  max(v.so2)                                                    AS so2_max,
  min(v.po2)                                                    AS po2_min,
  max(v.po2)                                                    AS po2_max,
  min(v.pco2)                                                   AS pco2_min,
  max(v.pco2)                                                   AS pco2_max,
  min(v.aado2)                                                  AS aado2_min,
  max(v.aado2)                                                  AS aado2_max,
  min(v.aado2_calc)                                             AS aado2_calc_min,
  max(v.aado2_calc)                                             AS aado2_calc_max,
  min(v.pao2fio2ratio)                                          AS pao2fio2ratio_min,
  max(v.pao2fio2ratio)                                          AS pao2fio2ratio_max,
  min(v.baseexcess)                                             AS baseexcess_min,
  max(v.baseexcess)                                             AS baseexcess_max,
  min(v.bicarbonate)                                            AS bicarbonate_min,
  max(v.bicarbonate)                                            AS bicarbonate_max,
  min(v.totalco2)                                               AS totalco2_min,
  max(v.totalco2)                                               AS totalco2_max,
  min(v.hematocrit)                                             AS hematocrit_min,
  max(v.hematocrit)                                             AS hematocrit_max,
  min(v.hemoglobin)                                             AS hemoglobin_min,
  max(v.hemoglobin)                                             AS hemoglobin_max,
  min(v.carboxyhemoglobin)                                      AS carboxyhemoglobin_min,
  max(v.carboxyhemoglobin)                                      AS carboxyhemoglobin_max,
  min(v.methemoglobin)                                          AS methemoglobin_min,
  max(v.methemoglobin)                                          AS methemoglobin_max,
  min(v.temperature)                                            AS temperature_min,
  max(v.temperature)                                            AS temperature_max,
  min(v.chloride)                                               AS chloride_min,
  max(v.chloride)                                               AS chloride_max,
  min(v.calcium)                                                AS calcium_min,
  max(v.calcium)                                                AS calcium_max,
  min(v.glucose)                                                AS glucose_min,
  max(v.glucose)                                                AS glucose_max,
  min(v.potassium)                                              AS potassium_min,
  max(v.potassium)                                              AS potassium_max,
  min(v.sodium)                                                 AS sodium_min,
  max(v.sodium)                                                 AS sodium_max
FROM days AS d
LEFT JOIN arterial AS v
  ON
    v.subject_id = d.subject_id
    AND v.time >= d.start_time - INTERVAL 6 HOURS
    AND v.time <= d.end_time
GROUP BY d.subject_id, d.stay_id, d.start_time, d.end_time, d.available_time
