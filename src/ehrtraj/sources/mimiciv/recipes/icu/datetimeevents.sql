-- icu/datetimeevents: charted dates (such as a line's insertion or the last dialysis), one per row.
-- left out: caregiver_id | who charted it, not what happened to the patient
-- rejected: no_code | itemid IS NULL
-- rejected: no_time | charttime IS NULL

-- [every row] the charting. The charted date is a value, not the time of charting: it can be before charttime or after
-- it (566 of 15,280 in the demo). valueuom shows whether it is a date or has a time.
SELECT
  subject_id,
  charttime                                                          AS time,
  'CHART_DATE'                                                       AS event_type,
  itemid                                                             AS item,
  storetime                                                          AS available_time,
  'minute'                                                           AS time_precision,
  hadm_id,
  stay_id,
  CASE WHEN warning = 1 THEN flag('charted_with_warning') ELSE 0 END AS flags,
  value,
  valueuom
FROM datetimeevents;
