-- DERIVED//KDIGO_AKI: acute kidney injury by creatinine, at the time of each creatinine that fulfils a criterion of KDIGO
-- 2012 (Kidney Int Suppl 2012;2:1-138, section 2.1.1): 0.3 mg/dL or more above the lowest of the 48 hours before, or 1.5
-- times or more the lowest of the 7 days before. numeric_value is the creatinine.
-- As in mimic-code, mimic-iv/concepts/organfailure/kdigo_creatinine.sql, the lowest value of the days before is the
-- baseline, only item 50912 (serum) is used, and values at the same time are averaged. Urine output is not used: this is
-- the creatinine part of the definition. Without a value in the week before, no criterion can be fulfilled.
-- Values after the death are not used: organ donors are kept under treatment.
-- Values are decimals, because 1.3 - 1.0 is less than 0.3 in binary.
WITH deaths AS (
  SELECT subject_id, min(time) AS death_time
  FROM events
  WHERE code = 'MEDS_DEATH'
  GROUP BY subject_id
), creatinine AS (
  SELECT subject_id, time, round(CAST(avg(numeric_value) AS DECIMAL(12, 4)), 2) AS value
  FROM events
  LEFT JOIN deaths USING (subject_id)
  WHERE
    code = 'LAB//50912' AND unit = 'mg/dL' AND numeric_value IS NOT NULL AND time IS NOT NULL
    AND time <= coalesce(death_time, time)
  GROUP BY subject_id, time
), with_lowest AS (
  SELECT
    *,
    min(value) OVER (
      PARTITION BY subject_id ORDER BY time
      RANGE BETWEEN INTERVAL 48 HOURS PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW
    ) AS lowest_48h,
    min(value) OVER (
      PARTITION BY subject_id ORDER BY time
      RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW
    ) AS lowest_7d
  FROM creatinine
)
SELECT subject_id, time, 'DERIVED//KDIGO_AKI' AS code, CAST(value AS FLOAT) AS numeric_value
FROM with_lowest
WHERE value - lowest_48h >= 0.3 OR value >= 1.5 * lowest_7d
