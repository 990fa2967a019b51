-- Confusion Assessment Method for the ICU (CAM-ICU): whether a patient is delirious.
--
-- Delirium is an acute change and inattention, with either an altered level of consciousness or disorganized thinking.
-- The result that was charted takes precedence over the one that follows from the four features. With the clock
-- `available` there is a row for each time at which a part became known, with all parts that were known by then.
--
-- source: Ely EW et al. JAMA 2001;286:2703-2710, doi:10.1001/jama.286.21.2703
-- row: subject_id, stay_id, time
-- columns:
--   subject_id              BIGINT     -  Patient.
--   stay_id                 BIGINT     -  ICU stay.
--   time                    TIMESTAMP  -  When it was charted.
--   available_time          TIMESTAMP  -  When all values of the row were known.
--   delirium                BOOLEAN    -  Whether the patient is delirious; null if that cannot be assessed or concluded.
--   unable                  BOOLEAN    -  Whether it was charted that the patient cannot be assessed.
--   acute_change            BOOLEAN    -  Feature 1: acute change or fluctuating course of the mental status.
--   inattention             BOOLEAN    -  Feature 2: inattention.
--   altered_consciousness   BOOLEAN    -  Feature 3: altered level of consciousness.
--   disorganized_thinking   BOOLEAN    -  Feature 4: disorganized thinking.
WITH
charted AS (
  SELECT
    v.subject_id,
    v.stay_id,
    v.event_time,
    v.time,
    v.available_time,
    v.concept,
    t.meaning,
    CASE t.meaning WHEN 'yes' THEN true WHEN 'no' THEN false END AS answer
  FROM vitals AS v
  LEFT JOIN concept_texts AS t ON t.concept = v.concept AND t.text = v.text_value
  WHERE
    v.event_type = 'CHART'
    AND v.concept IN (
      'delirium', 'cam_icu_change', 'cam_icu_inattention', 'cam_icu_consciousness', 'cam_icu_thinking'
    )
),
features AS (
  SELECT
    subject_id,
    stay_id,
    event_time,
    time,
    max(available_time)                                        AS available_time,
    bool_or(answer) FILTER (concept = 'delirium')              AS result,
    coalesce(bool_or(meaning = 'unable'), false)               AS unable,
    bool_or(answer) FILTER (concept = 'cam_icu_change')        AS acute_change,
    bool_or(answer) FILTER (concept = 'cam_icu_inattention')   AS inattention,
    bool_or(answer) FILTER (concept = 'cam_icu_consciousness') AS altered_consciousness,
    bool_or(answer) FILTER (concept = 'cam_icu_thinking')      AS disorganized_thinking
  FROM charted
  GROUP BY subject_id, stay_id, event_time, time
),
known AS (
  SELECT
    * REPLACE (
      max(available_time) OVER so_far AS available_time,
      bool_or(result) OVER so_far AS result,
      bool_or(unable) OVER so_far AS unable,
      bool_or(acute_change) OVER so_far AS acute_change,
      bool_or(inattention) OVER so_far AS inattention,
      bool_or(altered_consciousness) OVER so_far AS altered_consciousness,
      bool_or(disorganized_thinking) OVER so_far AS disorganized_thinking
    )
  FROM features
  WINDOW so_far AS (PARTITION BY stay_id, event_time ORDER BY time)
)
SELECT
  subject_id,
  stay_id,
  time,
  available_time,
  CASE
    WHEN result IS NOT NULL OR unable THEN result
    ELSE acute_change AND inattention AND (altered_consciousness OR disorganized_thinking)
  END AS delirium,
  unable,
  acute_change,
  inattention,
  altered_consciousness,
  disorganized_thinking
FROM known
