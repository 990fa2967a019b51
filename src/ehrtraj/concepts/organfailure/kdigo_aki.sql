-- Acute kidney injury by creatinine in all of a patient's hospital time: each creatinine that is 0.3 mg/dL or more above
-- the lowest of the 48 hours before it, or 1.5 times or more the lowest of the 7 days before it.
--
-- Urine output is not used. Values of one time are averaged. Without a value in the week before, no criterion can be
-- fulfilled. Values after the death are not used: organ donors are kept under treatment.
--
-- source: KDIGO Clinical Practice Guideline for Acute Kidney Injury. Kidney Int Suppl 2012;2:1-138, section 2.1.1,
--   doi:10.1038/kisup.2012.1
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/organfailure/kdigo_creatinine.sql: the lowest earlier value is the baseline
-- row: subject_id, time
-- columns:
--   subject_id      BIGINT     -      Patient.
--   time            TIMESTAMP  -      When the specimen was taken.
--   available_time  TIMESTAMP  -      When the values of the 7 days were known.
--   creatinine      DOUBLE     mg/dL  Creatinine that fulfils a criterion.
WITH
-- Values are decimals: in binary, 1.3 - 1.0 is less than 0.3.
values_of_time AS (
  SELECT
    l.subject_id,
    l.time,
    max(l.available_time)                          AS available_time,
    round(CAST(avg(l.value) AS DECIMAL(12, 4)), 2) AS creatinine
  FROM labs AS l
  LEFT JOIN patients AS p ON p.subject_id = l.subject_id
  WHERE
    l.concept = 'creatinine'
    AND l.method = 'laboratory'
    AND l.unit = 'mg/dL'
    AND l.value IS NOT NULL
    AND l.time <= coalesce(p.death_time, l.time)
  GROUP BY l.subject_id, l.event_time, l.time
),
with_lowest AS (
  SELECT
    *,
    max(available_time) OVER (
      PARTITION BY subject_id ORDER BY time RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW
    ) AS known_time,
    min(creatinine) OVER (
      PARTITION BY subject_id ORDER BY time
      RANGE BETWEEN INTERVAL 48 HOURS PRECEDING AND CURRENT ROW EXCLUDE GROUP
    ) AS lowest_48h,
    min(creatinine) OVER (
      PARTITION BY subject_id ORDER BY time
      RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW EXCLUDE GROUP
    ) AS lowest_7d
  FROM values_of_time
)
SELECT
  subject_id,
  time,
  max(known_time) AS available_time,
  -- Several results can become known at the same time.
  max(creatinine) AS creatinine
FROM with_lowest
WHERE creatinine - lowest_48h >= 0.3 OR creatinine >= 1.5 * lowest_7d
GROUP BY subject_id, time
