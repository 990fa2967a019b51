-- Height of the first day of an ICU stay, from six hours before its start: the mean if it was charted more than once.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/firstday/first_day_height.sql
-- needs: height
-- row: stay_id
-- mimic-code: without start, without end
-- columns:
--   subject_id      BIGINT     -   Patient.
--   stay_id         BIGINT     -   ICU stay.
--   start           TIMESTAMP  -   Start of the stay.
--   end             TIMESTAMP  -   24 hours after the start of the stay.
--   available_time  TIMESTAMP  -   When the first day was over and all its values were known.
--   height          DOUBLE     cm  Height.
WITH
days AS (
  SELECT subject_id, stay_id, start_time, start_time + INTERVAL 24 HOURS AS end_time, available_time
  FROM stays
  WHERE kind = 'icu'
)
SELECT
  d.subject_id,
  d.stay_id,
  d.start_time                                                  AS start,
  d.end_time                                                    AS "end",
  greatest(d.end_time, d.available_time, max(v.available_time)) AS available_time,
  round(avg(v.height), 2)                                       AS height
FROM days AS d
LEFT JOIN height AS v
  ON
    v.stay_id = d.stay_id
    AND v.time >= d.start_time - INTERVAL 6 HOURS
    AND v.time <= d.end_time
GROUP BY d.subject_id, d.stay_id, d.start_time, d.end_time, d.available_time
