-- Notes, one per row: discharge summaries and radiology reports. text_value is null if the dataset was built with
-- --notes separate: `Trajectory.with_notes` reads the texts.
SELECT
  subject_id,
  hadm_id,
  time,
  event_time,
  available_time,
  CASE WHEN code LIKE 'DISCHARGE%' THEN 'discharge' ELSE 'radiology' END AS kind,
  split_part(code, '//', 2)                                              AS note_type,
  text_value,
  source_key                                                             AS note_id,
  link_id                                                                AS parent_note_id
FROM happened
WHERE code LIKE 'DISCHARGE\_NOTE//%' ESCAPE '\' OR code LIKE 'RADIOLOGY\_NOTE//%' ESCAPE '\'
