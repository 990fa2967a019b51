-- Creatinine of stays in intensive care, with the lowest of the 48 hours and of the 7 days before.
WITH creatinine AS (
  SELECT
    s.hadm_id,
    s.stay_id,
    l.time       AS charttime,
    avg(l.value) AS creat
  FROM stays AS s
  JOIN labs AS l
    ON
      l.subject_id = s.subject_id AND l.concept = 'creatinine' AND l.method = 'laboratory' AND l.value <= 150
      AND l.time >= s.start_time - INTERVAL 7 DAYS
      AND l.time <= s.end_time
  WHERE s.kind = 'icu'
  GROUP BY s.hadm_id, s.stay_id, l.time
)
SELECT
  hadm_id,
  stay_id,
  charttime,
  creat,
  min(creat) OVER (
    PARTITION BY stay_id ORDER BY charttime
    RANGE BETWEEN INTERVAL 48 HOURS PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW
  ) AS creat_low_past_48hr,
  min(creat) OVER (
    PARTITION BY stay_id ORDER BY charttime
    RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW
  ) AS creat_low_past_7day
FROM creatinine
