-- Lowest score on the Glasgow Coma Scale on the first day of an ICU stay, from six hours before its start.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/firstday/first_day_gcs.sql
-- needs: gcs
-- row: stay_id
-- mimic-code: without start, without end
-- columns:
--   subject_id      BIGINT     -        Patient.
--   stay_id         BIGINT     -        ICU stay.
--   start           TIMESTAMP  -        Start of the stay.
--   end             TIMESTAMP  -        24 hours after the start of the stay.
--   available_time  TIMESTAMP  -        When the first day was over and all its values were known.
--   gcs_min         DOUBLE     {score}  Lowest sum, 3 to 15; the last one if several are equal.
--   gcs_motor       DOUBLE     {score}  Its motor response.
--   gcs_verbal      DOUBLE     {score}  Its verbal response, 0 if intubated.
--   gcs_eyes        DOUBLE     {score}  Its eye opening.
--   gcs_unable      INTEGER    -        1 if its verbal response could not be assessed because of a tube, otherwise 0.
WITH
days AS (
  SELECT subject_id, stay_id, start_time, start_time + INTERVAL 24 HOURS AS end_time, available_time
  FROM stays
  WHERE kind = 'icu'
),
scores AS (
  SELECT
    d.subject_id,
    d.stay_id,
    d.start_time,
    d.end_time,
    greatest(d.end_time, d.available_time, max(v.available_time) OVER (PARTITION BY d.stay_id)) AS available_time,
    v.gcs,
    v.gcs_motor,
    v.gcs_verbal,
    v.gcs_eyes,
    v.gcs_unable,
    row_number() OVER (
      PARTITION BY d.stay_id
      ORDER BY v.gcs ASC, v.time DESC, v.gcs_motor ASC, v.gcs_verbal ASC, v.gcs_eyes ASC, v.gcs_unable ASC
    )                                                                                           AS nth
  FROM days AS d
  LEFT JOIN gcs AS v
    ON
      v.stay_id = d.stay_id
      AND v.time >= d.start_time - INTERVAL 6 HOURS
      AND v.time <= d.end_time
)
SELECT
  subject_id,
  stay_id,
  start_time AS start,
  end_time   AS "end",
  available_time,
  gcs        AS gcs_min,
  gcs_motor,
  gcs_verbal,
  gcs_eyes,
  gcs_unable
FROM scores
WHERE nth = 1
