-- The weight of a stay over time. A weight holds until the next one, the last one until two hours after the stay. The
-- first weight also holds before it was measured, from two hours before the stay.
WITH
icu AS (
  SELECT stay_id, start_time, end_time FROM stays WHERE kind = 'icu'
),
measured AS (
  SELECT
    v.stay_id,
    CASE v.method WHEN 'admission' THEN 'admit' ELSE v.method END AS weight_type,
    round(v.value, 3)                                             AS weight,
    CASE
      WHEN
        v.method = 'admission'
        AND row_number() OVER (PARTITION BY v.stay_id, v.method ORDER BY v.time) = 1
        THEN icu.start_time - INTERVAL 2 HOURS
      ELSE v.time
    END                                                           AS starttime,
    icu.start_time,
    icu.end_time
  FROM vitals AS v
  JOIN icu USING (stay_id)
  WHERE v.concept = 'weight' AND v.value > 0 AND v.value < 1500
),
lasting AS (
  SELECT
    *,
    coalesce(
      lead(starttime) OVER (PARTITION BY stay_id ORDER BY starttime),
      end_time + INTERVAL 2 HOURS
    )                                                           AS endtime,
    row_number() OVER (PARTITION BY stay_id ORDER BY starttime) AS nth
  FROM measured
)
SELECT stay_id, starttime, endtime, weight, weight_type FROM lasting
UNION ALL
SELECT stay_id, start_time - INTERVAL 2 HOURS, starttime, weight, weight_type
FROM lasting
WHERE nth = 1 AND start_time < starttime
