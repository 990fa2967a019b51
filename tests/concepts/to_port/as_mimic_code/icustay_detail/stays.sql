-- The discharge of patients who died is the recorded one, which is midnight of that day and before the death.
SELECT s.* REPLACE (coalesce(CAST(e.attributes ->> '$.dischtime' AS TIMESTAMP), s.end_time) AS end_time)
FROM stays AS s
LEFT JOIN events AS e
  ON
    s.kind = 'admission'
    AND e.hadm_id = s.hadm_id
    AND e.code LIKE 'DISCHARGE//%'
    AND has_flag(e.flags, 'discharge_at_death')
