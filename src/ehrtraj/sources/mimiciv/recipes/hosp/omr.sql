-- hosp/omr: measurements in the outpatient record (blood pressure, weight, height, BMI, eGFR), one per row, by date.
-- The table names no admission, so events are placed at the end of the day.
-- rejected: no_code | nullif(trim(result_name), '') IS NULL
-- rejected: no_time | chartdate IS NULL

-- [every row] the measurement: 'Weight' and 'Height' without a unit are in pounds and inches (mc#1918)
SELECT
  subject_id,
  day_end(chartdate)                                                  AS time,
  'OMR'                                                               AS event_type,
  name_or_unknown(result_name)                                        AS item,
  TRY_CAST(result_value AS DOUBLE)                                    AS numeric_value,
  text_if_informative(result_value, TRY_CAST(result_value AS DOUBLE)) AS text_value,
  CASE
    WHEN result_name LIKE 'Weight%' THEN 'lb'
    WHEN result_name LIKE 'Height%' THEN 'in'
    WHEN result_name LIKE 'BMI%' THEN 'kg/m2'
  END                                                                 AS unit,
  'day'                                                               AS time_precision,
  seq_num                                                             AS source_key
FROM omr;

-- [also] the systolic number of '120/80' as a separate measurement
SELECT
  subject_id,
  day_end(chartdate)                                   AS time,
  'OMR'                                                AS event_type,
  result_name || '//SYSTOLIC'                          AS item,
  TRY_CAST(split_part(result_value, '/', 1) AS DOUBLE) AS numeric_value,
  'mmHg'                                               AS unit,
  'day'                                                AS time_precision,
  seq_num                                              AS source_key
FROM omr
WHERE
  result_name LIKE 'Blood Pressure%' AND TRY_CAST(split_part(result_value, '/', 1) AS DOUBLE) IS NOT NULL
  AND contains(result_value, '/');

-- [also] the diastolic number as a separate measurement
SELECT
  subject_id,
  day_end(chartdate)                                   AS time,
  'OMR'                                                AS event_type,
  result_name || '//DIASTOLIC'                         AS item,
  TRY_CAST(split_part(result_value, '/', 2) AS DOUBLE) AS numeric_value,
  'mmHg'                                               AS unit,
  'day'                                                AS time_precision,
  seq_num                                              AS source_key
FROM omr
WHERE result_name LIKE 'Blood Pressure%' AND TRY_CAST(split_part(result_value, '/', 2) AS DOUBLE) IS NOT NULL;
