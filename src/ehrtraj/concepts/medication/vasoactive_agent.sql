-- Rates of vasoactive drugs, one interval between two changes of any of them per row.
--
-- An interval begins and ends where a period of any drug begins or ends. A gap between two periods has a row without rates.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/medication/vasoactive_agent.sql
-- row: stay_id, start
-- mimic-code: starttime = start, endtime = end, without subject_id
-- differs: If two periods of a drug overlap, the higher rate counts; they have a row for each of the two.
-- columns:
--   subject_id      BIGINT     -          Patient.
--   stay_id         BIGINT     -          ICU stay.
--   start           TIMESTAMP  -          When the interval began.
--   end             TIMESTAMP  -          When it ended.
--   available_time  TIMESTAMP  -          When all changes up to its end were known.
--   dopamine        DOUBLE     ug/kg/min  Rate of dopamine.
--   epinephrine     DOUBLE     ug/kg/min  Rate of epinephrine.
--   norepinephrine  DOUBLE     ug/kg/min  Rate of norepinephrine.
--   phenylephrine   DOUBLE     ug/kg/min  Rate of phenylephrine.
--   vasopressin     DOUBLE     [USP'U]/h  Rate of vasopressin.
--   dobutamine      DOUBLE     ug/kg/min  Rate of dobutamine.
--   milrinone       DOUBLE     ug/kg/min  Rate of milrinone.
WITH
-- A period that has not ended is running. One that ends before it starts never is.
periods AS (
  SELECT
    subject_id,
    stay_id,
    concept,
    start_time,
    coalesce(end_time, 'infinity'::TIMESTAMP) AS end_time,
    CASE WHEN end_time <= start_time THEN greatest(available_time, end_available_time) ELSE available_time END
      AS available_time,
    end_available_time,
    rate,
    order_id
  FROM inputs
  WHERE
    concept IN (
      'dopamine', 'epinephrine', 'norepinephrine', 'phenylephrine', 'vasopressin', 'dobutamine', 'milrinone'
    )
),
changes AS (
  SELECT subject_id, stay_id, start_time AS time, available_time FROM periods
  UNION ALL
  SELECT subject_id, stay_id, end_time, end_available_time FROM periods
  WHERE end_available_time IS NOT NULL AND (end_time > start_time OR as_mimic_code())
),
times AS (
  SELECT subject_id, stay_id, time, max(available_time) AS available_time
  FROM changes
  GROUP BY subject_id, stay_id, time
),
known AS (
  SELECT
    subject_id,
    stay_id,
    time,
    max(available_time) OVER (PARTITION BY stay_id ORDER BY time) AS available_time
  FROM times
),
intervals AS (
  SELECT
    subject_id,
    stay_id,
    time                        AS start_time,
    lead(time) OVER w           AS end_time,
    lead(available_time) OVER w AS available_time
  FROM known
  WINDOW w AS (PARTITION BY stay_id ORDER BY time)
),
running AS (
  SELECT i.stay_id, i.start_time, p.concept, max(p.rate) AS rate
  FROM intervals AS i
  JOIN periods AS p ON p.stay_id = i.stay_id AND p.start_time <= i.start_time AND p.end_time >= i.end_time
  GROUP BY i.stay_id, i.start_time, p.concept, CASE WHEN as_mimic_code() THEN p.order_id END
)
SELECT
  i.subject_id,
  i.stay_id,
  i.start_time AS start,
  i.end_time   AS "end",
  i.available_time,
  dop.rate     AS dopamine,
  epi.rate     AS epinephrine,
  nor.rate     AS norepinephrine,
  phe.rate     AS phenylephrine,
  vaso.rate    AS vasopressin,
  dob.rate     AS dobutamine,
  mil.rate     AS milrinone
FROM intervals AS i
LEFT JOIN running AS dop ON dop.concept = 'dopamine' AND dop.stay_id = i.stay_id AND dop.start_time = i.start_time
LEFT JOIN running AS epi ON epi.concept = 'epinephrine' AND epi.stay_id = i.stay_id AND epi.start_time = i.start_time
LEFT JOIN running AS nor
  ON nor.concept = 'norepinephrine' AND nor.stay_id = i.stay_id AND nor.start_time = i.start_time
LEFT JOIN running AS phe
  ON phe.concept = 'phenylephrine' AND phe.stay_id = i.stay_id AND phe.start_time = i.start_time
LEFT JOIN
  running AS vaso
  ON vaso.concept = 'vasopressin' AND vaso.stay_id = i.stay_id AND vaso.start_time = i.start_time
LEFT JOIN running AS dob ON dob.concept = 'dobutamine' AND dob.stay_id = i.stay_id AND dob.start_time = i.start_time
LEFT JOIN running AS mil ON mil.concept = 'milrinone' AND mil.stay_id = i.stay_id AND mil.start_time = i.start_time
WHERE i.end_time IS NOT NULL
