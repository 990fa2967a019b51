-- Urine of the 6, 12 and 24 hours before each measurement, and the hours that it covers. A measurement covers the time
-- since the one before, the first one the time since the first heart rate of the stay. A measurement describes its last
-- hour, so those of 5, 11 and 23 hours count.
-- needs: urine_output_covered
SELECT
  u.stay_id,
  u.charttime,
  s.span,
  sum(b.urineoutput)     AS urineoutput,
  round(sum(b.hours), 6) AS hours
FROM urine_output_covered AS u
CROSS JOIN (VALUES (6), (12), (24)) AS s (span)
JOIN urine_output_covered AS b
  ON
    b.stay_id = u.stay_id
    AND b.charttime BETWEEN u.charttime - to_hours(s.span - 1) AND u.charttime
GROUP BY u.stay_id, u.charttime, s.span
