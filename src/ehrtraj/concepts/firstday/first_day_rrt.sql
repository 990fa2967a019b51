-- Renal replacement therapy on the first day of an ICU stay, from six hours before its start.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/firstday/first_day_rrt.sql
-- needs: rrt
-- row: stay_id
-- mimic-code: without start, without end
-- columns:
--   subject_id        BIGINT     -  Patient.
--   stay_id           BIGINT     -  ICU stay.
--   start             TIMESTAMP  -  Start of the stay.
--   end               TIMESTAMP  -  24 hours after the start of the stay.
--   available_time    TIMESTAMP  -  When the first day was over and all its values were known.
--   dialysis_present  INTEGER    -  1 if there was a sign of dialysis; null if there was none.
--   dialysis_active   INTEGER    -  1 if dialysis was running, 0 if not; null without a sign of dialysis.
--   dialysis_type     VARCHAR    -  Kind of dialysis; several are in the order of the alphabet with a comma between them.
WITH days AS (
  SELECT subject_id, stay_id, start_time, start_time + INTERVAL 24 HOURS AS end_time, available_time
  FROM stays
  WHERE kind = 'icu'
)
SELECT
  d.subject_id,
  d.stay_id,
  d.start_time                                                            AS start,
  d.end_time                                                              AS "end",
  greatest(d.end_time, d.available_time, max(v.available_time))           AS available_time,
  max(v.dialysis_present)                                                 AS dialysis_present,
  max(v.dialysis_active)                                                  AS dialysis_active,
  string_agg(DISTINCT v.dialysis_type, ', ' ORDER BY v.dialysis_type ASC) AS dialysis_type
FROM days AS d
LEFT JOIN rrt AS v
  ON
    v.stay_id = d.stay_id
    AND v.time >= d.start_time - INTERVAL 6 HOURS
    AND v.time <= d.end_time
GROUP BY d.subject_id, d.stay_id, d.start_time, d.end_time, d.available_time
