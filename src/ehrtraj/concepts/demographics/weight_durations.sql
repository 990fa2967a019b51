-- The weight of an ICU stay over time. A weight holds until the next one.
--
-- The last weight holds until two hours after the stay, and the first one also before it was charted, from two hours
-- before the stay. A row is complete when its end is known: `body_weight` has the last known weight at any time.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/demographics/weight_durations.sql
-- needs: body_weight
-- row: stay_id, start, end, weight_type, weight
-- mimic-code: starttime = start, endtime = end, without subject_id
-- columns:
--   subject_id      BIGINT     -   Patient.
--   stay_id         BIGINT     -   ICU stay.
--   start           TIMESTAMP  -   From when the weight holds.
--   end             TIMESTAMP  -   Until when it holds.
--   available_time  TIMESTAMP  -   When the weight and the end were known.
--   weight          DOUBLE     kg  Body weight.
--   weight_type     VARCHAR    -   `admit` for the weight at admission, `daily` for a later one.
WITH
icu AS (
  SELECT stay_id, start_time, end_time, available_time, end_available_time FROM stays WHERE kind = 'icu'
),
measured AS (
  SELECT
    w.subject_id,
    stay_id,
    w.weight,
    w.weight_type,
    w.time,
    icu.start_time,
    icu.end_time,
    icu.end_available_time,
    w.weight_type = 'admit' AND row_number() OVER earlier = 1                AS is_first_admit,
    greatest(max(w.available_time) OVER earlier, icu.available_time, w.time) AS available_time
  FROM body_weight AS w
  JOIN icu USING (stay_id)
  WINDOW earlier AS (
    PARTITION BY stay_id, w.weight_type ORDER BY w.time, w.weight ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
  )
),
from_start AS (
  SELECT
    *,
    CASE WHEN is_first_admit THEN start_time - INTERVAL 2 HOURS ELSE time END AS start
  FROM measured
),
lasting AS (
  SELECT
    *,
    coalesce(lead(start) OVER in_order, end_time + INTERVAL 2 HOURS) AS "end",
    coalesce(lead(available_time) OVER in_order, end_available_time) AS end_known,
    row_number() OVER in_order                                       AS nth
  FROM from_start
  WINDOW in_order AS (PARTITION BY stay_id ORDER BY start, time, weight_type, weight)
)
SELECT
  subject_id,
  stay_id,
  start,
  "end",
  greatest(available_time, end_known, "end") AS available_time,
  weight,
  weight_type
FROM lasting
WHERE "end" IS NOT NULL
UNION ALL
SELECT
  subject_id,
  stay_id,
  start_time - INTERVAL 2 HOURS,
  start,
  available_time,
  weight,
  weight_type
FROM lasting
WHERE nth = 1 AND start_time < start
