-- Renal replacement therapy on the first day of an ICU stay, from six hours before its start.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/firstday/first_day_rrt.sql
-- needs: rrt
-- row: stay_id
-- mimic-code: without start, without end
-- differs: The types are in alphabetical order; theirs are in no order.
-- columns:
--   subject_id        BIGINT     -  Patient.
--   stay_id           BIGINT     -  ICU stay.
--   start             TIMESTAMP  -  Start of the stay.
--   end               TIMESTAMP  -  24 hours after the start of the stay.
--   available_time    TIMESTAMP  -  When the first day was over and all its values were known.
--   dialysis_present  INTEGER    -  1 if there was any sign of dialysis; null if none was charted.
--   dialysis_active   INTEGER    -  1 if dialysis was running, 0 if it was not; null if nothing was charted.
--   dialysis_type     VARCHAR    -  Types, separated by commas.
SELECT
  s.subject_id,
  s.stay_id,
  s.start_time                                                                        AS start,
  s.start_time + INTERVAL 24 HOURS                                                    AS "end",
  greatest(s.start_time + INTERVAL 24 HOURS, s.available_time, max(r.available_time)) AS available_time,
  max(r.dialysis_present)                                                             AS dialysis_present,
  max(r.dialysis_active)                                                              AS dialysis_active,
  string_agg(DISTINCT r.dialysis_type, ', ' ORDER BY r.dialysis_type)                 AS dialysis_type
FROM stays AS s
LEFT JOIN rrt AS r
  ON
    r.stay_id = s.stay_id
    AND r.time >= s.start_time - INTERVAL 6 HOURS
    AND r.time <= s.start_time + INTERVAL 24 HOURS
WHERE s.kind = 'icu'
GROUP BY s.subject_id, s.stay_id, s.start_time, s.available_time
