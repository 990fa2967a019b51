-- hosp/labevents: results of the hospital's laboratory, one analyte of one specimen per row.
-- The largest table of the hospital: this is a plain projection without joins.
-- left out: order_provider_id | who ordered the test, not what happened to the patient
-- rejected: no_code | itemid IS NULL
-- rejected: no_time | charttime IS NULL AND storetime IS NULL

-- [every row] a result: the specimen was taken at charttime, the result was known at storetime (MIMIC documentation).
-- The number is valuenum, also where value is masked as '___' (mc#1354, mc#1921). value is kept where it contains more.
SELECT
  subject_id,
  coalesce(charttime, storetime)       AS time,
  'LAB'                                AS event_type,
  itemid                               AS item,
  valuenum                             AS numeric_value,
  text_if_informative(value, valuenum) AS text_value,
  nullif(trim(valueuom), '')           AS unit,
  storetime                            AS available_time,
  'minute'                             AS time_precision,
  hadm_id,
  labevent_id                          AS source_key,
  specimen_id                          AS link_id,
  flag,
  priority,
  ref_range_lower,
  ref_range_upper,
  comments
FROM labevents;
