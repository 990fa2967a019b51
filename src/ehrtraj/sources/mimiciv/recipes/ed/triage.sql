-- ed/triage: the first assessment of a patient in the emergency department, one per stay.
-- The table has no times: events are placed at the arrival (edstays.intime).
-- rejected: no_stay | NOT EXISTS (FROM ed_stay AS e WHERE e.subject_id = triage.subject_id AND e.stay_id = triage.stay_id AND e.intime IS NOT NULL)

-- [every row] the acuity, from 1 (most urgent) to 5
SELECT
  t.subject_id,
  e.intime    AS time,
  'ED_TRIAGE' AS event_type,
  'acuity'    AS item,
  t.acuity    AS numeric_value,
  'minute'    AS time_precision,
  e.hadm_id,
  t.stay_id,
  t.stay_id   AS source_key,
  t.stay_id   AS link_id
FROM triage AS t
LEFT JOIN ed_stay AS e USING (subject_id, stay_id);

-- [also] the reason for coming, in the nurse's words
SELECT
  t.subject_id,
  e.intime          AS time,
  'CHIEF_COMPLAINT' AS event_type,
  t.chiefcomplaint  AS text_value,
  'minute'          AS time_precision,
  e.hadm_id,
  t.stay_id,
  t.stay_id         AS source_key,
  t.stay_id         AS link_id
FROM triage AS t
JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE t.chiefcomplaint IS NOT NULL;

-- [also] temperature in Fahrenheit; some values are in Celsius (mc#1079)
SELECT
  t.subject_id,
  e.intime      AS time,
  'ED_VITAL'    AS event_type,
  'temperature' AS item,
  t.temperature AS numeric_value,
  '°F'          AS unit,
  'minute'      AS time_precision,
  e.hadm_id,
  t.stay_id,
  t.stay_id     AS source_key,
  t.stay_id     AS link_id
FROM triage AS t
JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE t.temperature IS NOT NULL;

-- [also] heart rate
SELECT
  t.subject_id,
  e.intime    AS time,
  'ED_VITAL'  AS event_type,
  'heartrate' AS item,
  t.heartrate AS numeric_value,
  'bpm'       AS unit,
  'minute'    AS time_precision,
  e.hadm_id,
  t.stay_id,
  t.stay_id   AS source_key,
  t.stay_id   AS link_id
FROM triage AS t
JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE t.heartrate IS NOT NULL;

-- [also] respiratory rate
SELECT
  t.subject_id,
  e.intime   AS time,
  'ED_VITAL' AS event_type,
  'resprate' AS item,
  t.resprate AS numeric_value,
  'insp/min' AS unit,
  'minute'   AS time_precision,
  e.hadm_id,
  t.stay_id,
  t.stay_id  AS source_key,
  t.stay_id  AS link_id
FROM triage AS t
JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE t.resprate IS NOT NULL;

-- [also] oxygen saturation
SELECT
  t.subject_id,
  e.intime   AS time,
  'ED_VITAL' AS event_type,
  'o2sat'    AS item,
  t.o2sat    AS numeric_value,
  '%'        AS unit,
  'minute'   AS time_precision,
  e.hadm_id,
  t.stay_id,
  t.stay_id  AS source_key,
  t.stay_id  AS link_id
FROM triage AS t
JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE t.o2sat IS NOT NULL;

-- [also] systolic blood pressure
SELECT
  t.subject_id,
  e.intime   AS time,
  'ED_VITAL' AS event_type,
  'sbp'      AS item,
  t.sbp      AS numeric_value,
  'mmHg'     AS unit,
  'minute'   AS time_precision,
  e.hadm_id,
  t.stay_id,
  t.stay_id  AS source_key,
  t.stay_id  AS link_id
FROM triage AS t
JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE t.sbp IS NOT NULL;

-- [also] diastolic blood pressure
SELECT
  t.subject_id,
  e.intime   AS time,
  'ED_VITAL' AS event_type,
  'dbp'      AS item,
  t.dbp      AS numeric_value,
  'mmHg'     AS unit,
  'minute'   AS time_precision,
  e.hadm_id,
  t.stay_id,
  t.stay_id  AS source_key,
  t.stay_id  AS link_id
FROM triage AS t
JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE t.dbp IS NOT NULL;

-- [also] pain as free text, with a number if the text contains one from 0 to 10
SELECT
  t.subject_id,
  e.intime                                        AS time,
  'ED_VITAL'                                      AS event_type,
  'pain'                                          AS item,
  pain_score(t.pain)                              AS numeric_value,
  text_if_informative(t.pain, pain_score(t.pain)) AS text_value,
  'minute'                                        AS time_precision,
  e.hadm_id,
  t.stay_id,
  t.stay_id                                       AS source_key,
  t.stay_id                                       AS link_id
FROM triage AS t
JOIN ed_stay AS e USING (subject_id, stay_id)
WHERE t.pain IS NOT NULL;
