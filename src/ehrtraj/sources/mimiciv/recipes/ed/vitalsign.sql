-- ed/vitalsign: vital signs in the emergency department, one round per row, every one to four hours.
-- rejected: no_time | charttime IS NULL

-- [every row] the round itself, with the heart rhythm if recorded
SELECT
  v.subject_id,
  v.charttime                AS time,
  'ED_ROUND'                 AS event_type,
  nullif(trim(v.rhythm), '') AS text_value,
  'minute'                   AS time_precision,
  e.hadm_id,
  v.stay_id,
  v.stay_id                  AS link_id
FROM vitalsign AS v
LEFT JOIN ed_stay AS e USING (subject_id, stay_id);

-- [also] temperature in Fahrenheit; some values are in Celsius (mc#1079)
SELECT
  v.subject_id,
  v.charttime   AS time,
  'ED_VITAL'    AS event_type,
  'temperature' AS item,
  v.temperature AS numeric_value,
  '°F'          AS unit,
  'minute'      AS time_precision,
  e.hadm_id,
  v.stay_id,
  v.stay_id     AS link_id
FROM vitalsign AS v
LEFT JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE v.temperature IS NOT NULL;

-- [also] heart rate
SELECT
  v.subject_id,
  v.charttime AS time,
  'ED_VITAL'  AS event_type,
  'heartrate' AS item,
  v.heartrate AS numeric_value,
  'bpm'       AS unit,
  'minute'    AS time_precision,
  e.hadm_id,
  v.stay_id,
  v.stay_id   AS link_id
FROM vitalsign AS v
LEFT JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE v.heartrate IS NOT NULL;

-- [also] respiratory rate
SELECT
  v.subject_id,
  v.charttime AS time,
  'ED_VITAL'  AS event_type,
  'resprate'  AS item,
  v.resprate  AS numeric_value,
  'insp/min'  AS unit,
  'minute'    AS time_precision,
  e.hadm_id,
  v.stay_id,
  v.stay_id   AS link_id
FROM vitalsign AS v
LEFT JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE v.resprate IS NOT NULL;

-- [also] oxygen saturation
SELECT
  v.subject_id,
  v.charttime AS time,
  'ED_VITAL'  AS event_type,
  'o2sat'     AS item,
  v.o2sat     AS numeric_value,
  '%'         AS unit,
  'minute'    AS time_precision,
  e.hadm_id,
  v.stay_id,
  v.stay_id   AS link_id
FROM vitalsign AS v
LEFT JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE v.o2sat IS NOT NULL;

-- [also] systolic blood pressure
SELECT
  v.subject_id,
  v.charttime AS time,
  'ED_VITAL'  AS event_type,
  'sbp'       AS item,
  v.sbp       AS numeric_value,
  'mmHg'      AS unit,
  'minute'    AS time_precision,
  e.hadm_id,
  v.stay_id,
  v.stay_id   AS link_id
FROM vitalsign AS v
LEFT JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE v.sbp IS NOT NULL;

-- [also] diastolic blood pressure
SELECT
  v.subject_id,
  v.charttime AS time,
  'ED_VITAL'  AS event_type,
  'dbp'       AS item,
  v.dbp       AS numeric_value,
  'mmHg'      AS unit,
  'minute'    AS time_precision,
  e.hadm_id,
  v.stay_id,
  v.stay_id   AS link_id
FROM vitalsign AS v
LEFT JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE v.dbp IS NOT NULL;

-- [also] pain as free text, with a number if the text contains one from 0 to 10
SELECT
  v.subject_id,
  v.charttime                                     AS time,
  'ED_VITAL'                                      AS event_type,
  'pain'                                          AS item,
  pain_score(v.pain)                              AS numeric_value,
  text_if_informative(v.pain, pain_score(v.pain)) AS text_value,
  'minute'                                        AS time_precision,
  e.hadm_id,
  v.stay_id,
  v.stay_id                                       AS link_id
FROM vitalsign AS v
LEFT JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE v.pain IS NOT NULL;
