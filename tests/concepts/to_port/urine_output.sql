-- Urine at one time. Irrigant that went in is subtracted from what came out.
SELECT
  stay_id,
  time                                                                    AS charttime,
  sum(CASE concept WHEN 'gu_irrigant_in' THEN -abs(value) ELSE value END) AS urineoutput
FROM outputs
WHERE concept IN ('urine', 'urine_with_irrigant', 'gu_irrigant_in')
GROUP BY stay_id, time
