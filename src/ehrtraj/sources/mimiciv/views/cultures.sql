-- Microbiology, one result per row: a test, an organism that it found, or an antibiotic that was tested on an organism.
-- Rows of one specimen share specimen_id. organism is null for a test without growth, and for results that are listed as
-- organisms but are none.
SELECT
  subject_id,
  hadm_id,
  has_flag(flags, 'hadm_inferred')                                                      AS hadm_inferred,
  time,
  event_time,
  available_time,
  time_precision = 'day'                                                                AS date_only,
  link_id                                                                               AS specimen_id,
  source_key                                                                            AS result_id,
  attributes ->> '$.spec_itemid'                                                        AS specimen_item,
  attributes ->> '$.spec_type_desc'                                                     AS specimen,
  attributes ->> '$.test_itemid'                                                        AS test_item,
  attributes ->> '$.test_name'                                                          AS test,
  CASE WHEN NOT has_flag(flags, 'not_an_organism') THEN attributes ->> '$.org_name' END AS organism,
  attributes ->> '$.org_itemid'                                                         AS organism_item,
  CASE split_part(code, '//', 2) WHEN 'ANTIBIOTIC' THEN split_part(code, '//', 3) END   AS antibiotic_item,
  decimal_value(numeric_value)                                                          AS dilution,
  text_value,
  split_part(code, '//', 2)                                                             AS kind
FROM happened
WHERE code LIKE 'MICRO//%'
