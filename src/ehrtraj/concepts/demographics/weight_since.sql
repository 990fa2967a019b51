-- From when each body weight of an ICU stay is used: until the next row.
--
-- A weight is used from the time at which it was charted. The first weight at admission is used from two hours before the
-- stay, and so is the first weight of a stay. With the clock `available`, no weight is used before it was known.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/demographics/weight_durations.sql
-- needs: body_weight
-- row: stay_id, time
-- columns:
--   subject_id      BIGINT     -   Patient.
--   stay_id         BIGINT     -   ICU stay.
--   time            TIMESTAMP  -   From when the weight is used.
--   available_time  TIMESTAMP  -   When the weight was known.
--   weight          DOUBLE     kg  Body weight.
WITH
charted AS (
  SELECT
    w.subject_id,
    w.stay_id,
    w.time,
    w.weight,
    w.weight_type,
    s.start_time - INTERVAL 2 HOURS                                AS earliest,
    greatest(s.available_time, max(w.available_time) OVER earlier) AS available_time,
    w.weight_type = 'admit' AND row_number() OVER earlier = 1      AS is_first_admit
  FROM body_weight AS w
  JOIN stays AS s ON s.kind = 'icu' AND s.stay_id = w.stay_id
  WINDOW earlier AS (
    PARTITION BY w.stay_id, w.weight_type ORDER BY w.time, w.weight ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
  )
),
used AS (
  SELECT
    *,
    CASE WHEN is_first_admit AND clock() = 'event' THEN earliest ELSE time END AS from_time
  FROM charted
),
numbered AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY stay_id ORDER BY from_time, time, weight_type, weight) AS nth
  FROM used
)
SELECT
  subject_id,
  stay_id,
  CASE WHEN nth = 1 AND clock() = 'event' THEN least(from_time, earliest) ELSE from_time END AS time,
  available_time,
  weight
FROM numbered
QUALIFY row_number() OVER (PARTITION BY stay_id, from_time ORDER BY nth DESC) = 1
