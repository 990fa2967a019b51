-- icu/chartevents: the intensive care chart of nurses and monitors, one item at one time per row.
-- The largest table of all: this is a plain projection without joins and without columns that are not needed.
-- left out: caregiver_id | who charted it, not what happened to the patient
-- rejected: no_code | itemid IS NULL
-- rejected: no_time | charttime IS NULL

-- [every row] a charted value: a warning is the nurse's remark and not a reason to drop the value (MIMIC
-- documentation). Seconds are real here, but rare (1,128 of 668,862 rows in the demo, all of item 220001).
SELECT
  subject_id,
  charttime                                                          AS time,
  'CHART'                                                            AS event_type,
  itemid                                                             AS item,
  valuenum                                                           AS numeric_value,
  text_if_informative(value, valuenum)                               AS text_value,
  valueuom                                                           AS unit,
  storetime                                                          AS available_time,
  hadm_id,
  stay_id,
  CASE WHEN warning = 1 THEN flag('charted_with_warning') ELSE 0 END AS flags
FROM chartevents;
