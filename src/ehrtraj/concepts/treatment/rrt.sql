-- Renal replacement therapy, at each time at which it was charted or began.
--
-- dialysis_present is 1 in every row: a catheter, a setting or a dialysis was seen. dialysis_active is 1 if it shows that
-- dialysis was running. A time can have several rows: a catheter, and the dialysis itself.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/treatment/rrt.sql
-- row: stay_id, time, dialysis_active, dialysis_type
-- mimic-code: charttime = time, without subject_id
-- differs: Dialysis that is charted is active also while a catheter is in place; they take it as inactive then.
-- differs: They can have a row twice or more; here each is there once.
-- differs: Potassium or calcium shows dialysis if it has a rate; for them it must have an amount, known at its end.
-- columns:
--   subject_id        BIGINT     -  Patient.
--   stay_id           BIGINT     -  ICU stay.
--   time              TIMESTAMP  -  When it was charted or began.
--   available_time    TIMESTAMP  -  When this and all periods before it were known.
--   dialysis_present  INTEGER    -  1.
--   dialysis_active   INTEGER    -  1 if dialysis was running, else 0.
--   dialysis_type     VARCHAR    -  IHD, CRRT, Peritoneal, SCUF, a mode such as CVVHDF, or null if it is not known.
WITH
charted AS (
  SELECT
    c.subject_id,
    c.stay_id,
    c.time,
    c.available_time,
    CAST(c.method IN ('dialysis_active', 'peritoneal_active', 'hemodialysis_active') OR t.text IS NOT NULL AS INTEGER)
      AS active,
    CASE
      WHEN c.concept = 'crrt_mode' THEN c.text_value
      WHEN c.method IN ('peritoneal', 'peritoneal_active') THEN 'Peritoneal'
      WHEN c.method = 'hemodialysis_active' THEN 'IHD'
    END AS dialysis_type
  FROM vitals AS c
  LEFT JOIN concept_texts AS t
    ON t.concept = 'peritoneal_catheter_status' AND t.concept = c.concept AND t.text = c.text_value
  WHERE
    c.event_type = 'CHART'
    AND c.stay_id IS NOT NULL
    AND c.method IN ('dialysis', 'dialysis_active', 'peritoneal', 'peritoneal_active', 'hemodialysis_active')
    AND (c.value IS NOT NULL OR c.text_value IS NOT NULL OR c.impossible_value)
),
-- A period that has not ended is running.
periods AS (
  SELECT
    subject_id,
    stay_id,
    start_time,
    coalesce(end_time, 'infinity'::TIMESTAMP) AS end_time,
    available_time,
    end_available_time,
    1                                         AS active,
    'CRRT'                                    AS dialysis_type
  FROM inputs
  WHERE
    concept IN ('crrt_potassium', 'crrt_calcium')
    AND CASE WHEN as_mimic_code() THEN amount > 0 ELSE rate > 0 END
  UNION ALL
  SELECT
    subject_id,
    stay_id,
    start_time,
    coalesce(end_time, 'infinity'::TIMESTAMP),
    available_time,
    end_available_time,
    CAST(concept NOT IN ('dialysis_catheter', 'crrt_filter_change') AS INTEGER),
    CASE concept
      WHEN 'hemodialysis' THEN 'IHD'
      WHEN 'crrt' THEN 'CRRT'
      WHEN 'cvvhd' THEN 'CVVHD'
      WHEN 'cvvhdf' THEN 'CVVHDF'
      WHEN 'scuf' THEN 'SCUF'
      WHEN 'peritoneal_dialysis' THEN 'Peritoneal'
    END
  FROM procedures
  WHERE
    kind = 'icu'
    AND concept IN (
      'hemodialysis', 'crrt', 'cvvhd', 'cvvhdf', 'scuf', 'peritoneal_dialysis', 'crrt_filter_change',
      'dialysis_catheter'
    )
),
distinct_periods AS (
  SELECT
    subject_id,
    stay_id,
    start_time,
    end_time,
    active,
    dialysis_type,
    max(available_time)     AS available_time,
    max(end_available_time) AS end_available_time
  FROM periods
  GROUP BY subject_id, stay_id, start_time, end_time, active, dialysis_type
),
observed AS (
  SELECT subject_id, stay_id, time, active, dialysis_type, max(available_time) AS available_time
  FROM (
    FROM charted
    UNION ALL
    SELECT subject_id, stay_id, start_time, available_time, active, dialysis_type FROM distinct_periods
  ) AS seen
  GROUP BY subject_id, stay_id, time, active, dialysis_type
),
-- What must be known to tell which periods contain a time: those that began before it, and their ends before it.
changes AS (
  SELECT stay_id, start_time AS time, available_time FROM periods
  UNION ALL
  SELECT stay_id, greatest(start_time, end_time), end_available_time FROM periods
  WHERE end_available_time IS NOT NULL
),
known AS (
  SELECT
    stay_id,
    time,
    max(available_time) OVER (PARTITION BY stay_id ORDER BY time) AS available_time
  FROM changes
),
joined AS (
  SELECT
    o.subject_id,
    o.stay_id,
    o.time,
    greatest(o.available_time, k.available_time)            AS available_time,
    CASE
      WHEN as_mimic_code() THEN coalesce(p.active, o.active)
      ELSE greatest(p.active, o.active)
    END                                                     AS dialysis_active,
    coalesce(p.dialysis_type, o.dialysis_type)              AS dialysis_type,
    CASE WHEN as_mimic_code() THEN row_number() OVER () END AS copy
  FROM observed AS o
  ASOF LEFT JOIN known AS k ON k.stay_id = o.stay_id AND k.time <= o.time
  LEFT JOIN distinct_periods AS p
    ON p.stay_id = o.stay_id AND p.start_time <= o.time AND p.end_time >= o.time
)
SELECT
  subject_id,
  stay_id,
  time,
  max(available_time) AS available_time,
  1                   AS dialysis_present,
  dialysis_active,
  dialysis_type
FROM joined
GROUP BY subject_id, stay_id, time, dialysis_active, dialysis_type, copy
