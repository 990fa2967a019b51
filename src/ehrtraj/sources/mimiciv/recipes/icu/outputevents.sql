-- icu/outputevents: fluids that left the patient (urine, drains), one measurement per row.
-- left out: caregiver_id | who charted it, not what happened to the patient
-- rejected: no_code | itemid IS NULL
-- rejected: no_time | charttime IS NULL

-- [every row] an output as charted: irrigant that went in (227488) keeps its sign, which matters for fluid balance
SELECT
  subject_id,
  charttime                  AS time,
  'OUTPUT'                   AS event_type,
  itemid                     AS item,
  value                      AS numeric_value,
  nullif(trim(valueuom), '') AS unit,
  storetime                  AS available_time,
  'minute'                   AS time_precision,
  hadm_id,
  stay_id
FROM outputevents;
