-- Specimens taken for microbiology, one per row. That a specimen was taken is known at once; cultures has its results.
SELECT
  subject_id,
  hadm_id,
  has_flag(flags, 'hadm_inferred') AS hadm_inferred,
  time,
  event_time,
  available_time,
  time_precision = 'day'           AS date_only,
  link_id                          AS specimen_id,
  split_part(code, '//', 2)        AS specimen_item
FROM happened
WHERE code LIKE 'MICRO\_SPECIMEN//%' ESCAPE '\'
