-- Blood gases of stays in intensive care, with the support of breathing at that time.
--
-- Ventilation is invasive if the support that was charted last, less than 14 hours before, is invasive. A gas and a new
-- support of the same time: either support counts for `invasive`, the earlier one for `invasive_before`.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/score/sofa.sql, sapsii.sql, apsiii.sql and lods.sql
-- needs: bg, ventilation, ventilation_status
-- row: stay_id, time
-- differs: They use episodes of ventilation, which are known only when they have ended and which lack support that was
--   charted once; here it is what was charted last.
-- columns:
--   subject_id       BIGINT     -       Patient.
--   hadm_id          BIGINT     -       Admission of the gas, as the source recorded it.
--   stay_id          BIGINT     -       ICU stay.
--   time             TIMESTAMP  -       When the specimen was taken.
--   available_time   TIMESTAMP  -       When the results and the support were known.
--   specimen_id      BIGINT     -       Specimen.
--   specimen         VARCHAR    -       Kind of blood: `ART.` for arterial, `VEN.` for venous.
--   ph               DOUBLE     [pH]    pH.
--   po2              DOUBLE     mm[Hg]  Oxygen tension.
--   pco2             DOUBLE     mm[Hg]  Carbon dioxide tension.
--   fio2             DOUBLE     %       Inspired oxygen: as entered at the analyser or else as charted.
--   aado2            DOUBLE     mm[Hg]  Alveolar-arterial oxygen difference, as reported.
--   pao2fio2ratio    DOUBLE     mm[Hg]  Ratio of oxygen tension to inspired oxygen (P/F ratio).
--   invasive         BOOLEAN    -       Whether the patient was ventilated invasively.
--   invasive_before  BOOLEAN    -       Whether the patient had been ventilated invasively just before.
WITH
gases AS (
  SELECT
    b.* REPLACE (greatest(b.available_time, s.available_time) AS available_time),
    coalesce(b.fio2, b.fio2_chartevents) AS inspired_oxygen,
    s.stay_id
  FROM bg AS b
  JOIN stays AS s
    ON
      s.kind = 'icu'
      AND s.subject_id = b.subject_id
      AND b.time > s.start_time - INTERVAL 1 MONTH
      AND (s.end_time IS NULL OR b.time < s.end_time + INTERVAL 1 MONTH)
),
supported AS (
  SELECT
    g.* REPLACE (greatest(g.available_time, now.available_time, earlier.available_time) AS available_time),
    now.ventilation_status = 'InvasiveVent' AND now.time > g.time - INTERVAL 14 HOURS         AS now_invasive,
    earlier.ventilation_status = 'InvasiveVent' AND earlier.time > g.time - INTERVAL 14 HOURS AS earlier_invasive
  FROM gases AS g
  ASOF LEFT JOIN ventilation_status AS now ON now.stay_id = g.stay_id AND now.time <= g.time
  ASOF LEFT JOIN ventilation_status AS earlier ON earlier.stay_id = g.stay_id AND earlier.time < g.time
),
in_episodes AS (
  SELECT
    g.stay_id,
    g.time,
    bool_or(v.start <= g.time) AS invasive,
    bool_or(v.start < g.time)  AS invasive_before
  FROM gases AS g
  JOIN ventilation AS v ON v.stay_id = g.stay_id AND v.start <= g.time AND v."end" >= g.time
  WHERE as_mimic_code() AND v.ventilation_status = 'InvasiveVent'
  GROUP BY g.stay_id, g.time
)
SELECT
  g.subject_id,
  g.hadm_id,
  g.stay_id,
  g.time,
  g.available_time,
  g.specimen_id,
  g.specimen,
  g.ph,
  g.po2,
  g.pco2,
  g.inspired_oxygen                                                                                        AS fio2,
  g.aado2,
  g.pao2fio2ratio,
  coalesce(CASE WHEN as_mimic_code() THEN e.invasive ELSE g.now_invasive OR g.earlier_invasive END, false) AS invasive,
  coalesce(CASE WHEN as_mimic_code() THEN e.invasive_before ELSE g.earlier_invasive END, false)
    AS invasive_before
FROM supported AS g
LEFT JOIN in_episodes AS e ON e.stay_id = g.stay_id AND e.time = g.time
