-- Whether the patient was ventilated invasively on the first day of a stay in intensive care.
--
-- It is true if invasive support was charted on that day, or last in the 14 hours before it.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/score/oasis.sql and apsiii.sql
-- needs: ventilation, ventilation_status
-- row: stay_id
-- differs: They use episodes of ventilation, which are known only when they have ended and which lack support that was
--   charted once.
-- columns:
--   subject_id      BIGINT     -  Patient.
--   stay_id         BIGINT     -  ICU stay.
--   start           TIMESTAMP  -  When the stay began.
--   end             TIMESTAMP  -  24 hours later.
--   available_time  TIMESTAMP  -  When the day had ended and the support was known.
--   ventilated      BOOLEAN    -  Whether the patient was ventilated invasively.
WITH
days AS (
  SELECT subject_id, stay_id, start_time AS start, start_time + INTERVAL 24 HOURS AS "end", available_time
  FROM stays
  WHERE kind = 'icu'
),
charted AS (
  SELECT
    d.stay_id,
    max(v.available_time)                                                                             AS available_time,
    coalesce(bool_or(v.ventilation_status = 'InvasiveVent') FILTER (v.time >= d.start), false)        AS on_the_day,
    coalesce(arg_max(v.ventilation_status, v.time) FILTER (v.time < d.start) = 'InvasiveVent', false) AS before
  FROM days AS d
  JOIN ventilation_status AS v
    ON v.stay_id = d.stay_id AND v.time > d.start - INTERVAL 14 HOURS AND v.time <= d."end"
  GROUP BY d.stay_id
),
in_episodes AS (
  SELECT DISTINCT d.stay_id
  FROM days AS d
  JOIN ventilation AS v ON v.stay_id = d.stay_id AND v.start <= d."end" AND v."end" >= d.start
  WHERE as_mimic_code() AND v.ventilation_status = 'InvasiveVent'
)
SELECT
  d.subject_id,
  d.stay_id,
  d.start,
  d."end",
  greatest(d.available_time, d."end", c.available_time)
    AS available_time,
  CASE WHEN as_mimic_code() THEN e.stay_id IS NOT NULL ELSE coalesce(c.on_the_day OR c.before, false) END AS ventilated
FROM days AS d
LEFT JOIN charted AS c ON c.stay_id = d.stay_id
LEFT JOIN in_episodes AS e ON e.stay_id = d.stay_id
