-- Creatinine of a stay in intensive care and of the 7 days before it, with the lowest value of the 48 hours and of the 7
-- days before each one. Values of one time are averaged.
--
-- source: KDIGO Clinical Practice Guideline for Acute Kidney Injury. Kidney Int Suppl 2012;2:1-138, section 2.1,
--   doi:10.1038/kisup.2012.1
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/organfailure/kdigo_creatinine.sql
-- row: stay_id, time
-- mimic-code: charttime = time, without subject_id
-- differs: A stay without a creatinine has no row; they have one without a time.
-- columns:
--   subject_id           BIGINT     -      Patient.
--   hadm_id              BIGINT     -      Admission of the stay.
--   stay_id              BIGINT     -      ICU stay.
--   time                 TIMESTAMP  -      When the specimen was taken.
--   available_time       TIMESTAMP  -      When the values were known and the stay had begun.
--   creat                DOUBLE     mg/dL  Creatinine.
--   creat_low_past_48hr  DOUBLE     mg/dL  Lowest creatinine of the 48 hours before; null without one.
--   creat_low_past_7day  DOUBLE     mg/dL  Lowest creatinine of the 7 days before; null without one.
WITH creatinine AS (
  SELECT
    s.subject_id,
    s.hadm_id,
    s.stay_id,
    l.time,
    l.event_time,
    max(greatest(l.available_time, s.available_time)) AS available_time,
    avg(CAST(l.value AS DOUBLE))                      AS creat
  FROM stays AS s
  JOIN labs AS l
    ON
      l.subject_id = s.subject_id
      AND l.concept = 'creatinine'
      AND l.method = 'laboratory'
      AND l.time >= s.start_time - INTERVAL 7 DAYS
      AND (s.end_time IS NULL OR l.time <= s.end_time)
  WHERE s.kind = 'icu' AND plausible_kdigo(l.concept, l.value)
  GROUP BY s.subject_id, s.hadm_id, s.stay_id, l.event_time, l.time
)
SELECT
  subject_id,
  hadm_id,
  stay_id,
  time,
  max(available_time) OVER past_7day AS available_time,
  creat,
  min(creat) OVER (
    PARTITION BY stay_id ORDER BY time
    RANGE BETWEEN INTERVAL 48 HOURS PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW
  )                                  AS creat_low_past_48hr,
  min(creat) OVER (
    PARTITION BY stay_id ORDER BY time
    RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW
  )                                  AS creat_low_past_7day
FROM creatinine
WINDOW
  past_7day AS (
    PARTITION BY stay_id ORDER BY time RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW
  )
-- Results that became known at the same time: the row is about the last specimen.
QUALIFY row_number() OVER (PARTITION BY stay_id, time ORDER BY event_time DESC) = 1
