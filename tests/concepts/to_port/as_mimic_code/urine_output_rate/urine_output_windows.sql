-- They count the boundaries of clock hours, not elapsed hours: 09:10 is 5 hours after 03:50.
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
    AND b.charttime BETWEEN u.charttime - to_hours(s.span) AND u.charttime
    AND CASE s.span
      WHEN 24 THEN b.charttime >= u.charttime - INTERVAL 23 HOURS
      ELSE date_diff('hour', b.charttime, u.charttime) < s.span
    END
GROUP BY u.stay_id, u.charttime, s.span
