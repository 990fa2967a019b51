-- Urine with the hours since the measurement before or, for the first one, since the first heart rate of the stay.
-- needs: urine_output
WITH monitored AS (
  SELECT v.stay_id, min(v.time) AS begin_time
  FROM vitals AS v
  JOIN stays AS s ON s.kind = 'icu' AND s.stay_id = v.stay_id
  WHERE
    v.concept = 'heart_rate'
    AND v.event_type = 'CHART'
    AND v.time > s.start_time - INTERVAL 1 MONTH
    AND v.time < s.end_time + INTERVAL 1 MONTH
  GROUP BY v.stay_id
)
SELECT
  u.*,
  epoch(u.charttime - lag(u.charttime, 1, m.begin_time) OVER (PARTITION BY u.stay_id ORDER BY u.charttime)) / 3600
    AS hours
FROM urine_output AS u
JOIN monitored AS m USING (stay_id)
