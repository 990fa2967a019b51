-- Glasgow Coma Scale (GCS) at each time at which a component was charted.
--
-- A missing component is that of the previous row, if that is less than six hours old, and otherwise normal. The verbal
-- response of an intubated patient cannot be assessed: it is 0 and the sum is 15. So is the sum if the verbal response
-- is missing and was 0 in the previous row. After 0, missing components are normal. With the clock `available` there is a
-- row for each time at which a component became known, with all components that were known by then.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/gcs.sql
-- source: Teasdale G, Jennett B. Lancet 1974;304:81-84, doi:10.1016/S0140-6736(74)91639-0
-- row: subject_id, stay_id, time
-- mimic-code: charttime = time
-- columns:
--   subject_id      BIGINT     -        Patient.
--   stay_id         BIGINT     -        ICU stay.
--   time            TIMESTAMP  -        When it was charted.
--   available_time  TIMESTAMP  -        When all components, and those of the previous row, were known.
--   gcs             DOUBLE     {score}  Sum, 3 to 15.
--   gcs_motor       DOUBLE     {score}  Motor response, 1 to 6; null if it was not charted in the last six hours.
--   gcs_verbal      DOUBLE     {score}  Verbal response, 1 to 5, or 0 if intubated; null likewise.
--   gcs_eyes        DOUBLE     {score}  Eye opening, 1 to 4; null likewise.
--   gcs_unable      INTEGER    -        1 if the verbal response could not be assessed because of a tube, otherwise 0.
WITH
components AS (
  SELECT
    v.subject_id,
    v.stay_id,
    v.event_time,
    v.time,
    max(v.available_time)                                                                   AS available_time,
    max(v.value) FILTER (v.concept = 'gcs_motor')                                           AS motor,
    max(CASE WHEN t.text IS NULL THEN v.value ELSE 0 END) FILTER (v.concept = 'gcs_verbal') AS verbal,
    max(v.value) FILTER (v.concept = 'gcs_eyes')                                            AS eyes,
    CAST(count(t.text) > 0 AS INTEGER)                                                      AS intubated
  FROM vitals AS v
  LEFT JOIN concept_texts AS t ON t.concept = v.concept AND t.meaning = 'intubated' AND t.text = v.text_value
  WHERE v.event_type = 'CHART' AND v.concept IN ('gcs_motor', 'gcs_verbal', 'gcs_eyes')
  GROUP BY v.subject_id, v.stay_id, v.event_time, v.time
),
known AS (
  SELECT
    * REPLACE (
      max(available_time) OVER so_far AS available_time,
      max(motor) OVER so_far AS motor,
      max(verbal) OVER so_far AS verbal,
      max(eyes) OVER so_far AS eyes,
      max(intubated) OVER so_far AS intubated
    )
  FROM components
  WINDOW so_far AS (PARTITION BY stay_id, event_time ORDER BY time)
),
with_last AS (
  SELECT
    *,
    lag(struct_pack(event_time, available_time, motor, verbal, eyes)) OVER (
      PARTITION BY stay_id ORDER BY time, event_time
    ) AS last_row
  FROM known
),
with_previous AS (
  SELECT
    * EXCLUDE (last_row),
    first_value(
      CASE
        WHEN
          last_row['event_time'] < event_time
          AND last_row['event_time'] > event_time - INTERVAL 6 HOURS
          THEN last_row
      END
    ) OVER (PARTITION BY stay_id, event_time ORDER BY time) AS previous
  FROM with_last
)
SELECT
  subject_id,
  stay_id,
  time,
  greatest(available_time, previous['available_time']) AS available_time,
  CASE
    WHEN verbal = 0 OR (verbal IS NULL AND previous['verbal'] = 0) THEN 15
    WHEN previous['verbal'] = 0 THEN coalesce(motor, 6) + coalesce(verbal, 5) + coalesce(eyes, 4)
    ELSE
      coalesce(motor, previous['motor'], 6)
      + coalesce(verbal, previous['verbal'], 5)
      + coalesce(eyes, previous['eyes'], 4)
  END                                                  AS gcs,
  coalesce(motor, previous['motor'])                   AS gcs_motor,
  coalesce(verbal, previous['verbal'])                 AS gcs_verbal,
  coalesce(eyes, previous['eyes'])                     AS gcs_eyes,
  intubated                                            AS gcs_unable
FROM with_previous
