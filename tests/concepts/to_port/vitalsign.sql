-- Vital signs of stays in intensive care: the mean of the plausible values of one time.
WITH charted AS (
  SELECT
    *,
    CASE concept
      WHEN 'heart_rate' THEN value > 0 AND value < 300
      WHEN 'sbp' THEN value > 0 AND value < 400
      WHEN 'dbp' THEN value > 0 AND value < 300
      WHEN 'mbp' THEN value > 0 AND value < 300
      WHEN 'resp_rate' THEN value > 0 AND value < 70
      WHEN 'temperature' THEN value > 10 AND value < 50
      WHEN 'spo2' THEN value > 0 AND value <= 100
      WHEN 'glucose' THEN value > 0
      ELSE false
    END AS plausible
  FROM vitals
  WHERE
    event_type = 'CHART'
    AND stay_id IS NOT NULL
    AND concept IN (
      'heart_rate', 'sbp', 'dbp', 'mbp', 'resp_rate', 'temperature', 'temperature_site', 'spo2', 'glucose'
    )
)
SELECT
  subject_id,
  stay_id,
  time                                                                         AS charttime,
  avg(value) FILTER (plausible AND concept = 'heart_rate')                     AS heart_rate,
  avg(value) FILTER (plausible AND concept = 'sbp')                            AS sbp,
  avg(value) FILTER (plausible AND concept = 'dbp')                            AS dbp,
  avg(value) FILTER (plausible AND concept = 'mbp')                            AS mbp,
  avg(value) FILTER (plausible AND concept = 'sbp' AND method = 'noninvasive') AS sbp_ni,
  avg(value) FILTER (plausible AND concept = 'dbp' AND method = 'noninvasive') AS dbp_ni,
  avg(value) FILTER (plausible AND concept = 'mbp' AND method = 'noninvasive') AS mbp_ni,
  avg(value) FILTER (plausible AND concept = 'resp_rate')                      AS resp_rate,
  round(avg(value) FILTER (plausible AND concept = 'temperature'), 2)          AS temperature,
  max(text_value) FILTER (concept = 'temperature_site')                        AS temperature_site,
  avg(value) FILTER (plausible AND concept = 'spo2')                           AS spo2,
  avg(value) FILTER (plausible AND concept = 'glucose')                        AS glucose
FROM charted
GROUP BY subject_id, stay_id, time
