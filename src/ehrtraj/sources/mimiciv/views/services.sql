-- Services that care for a patient in hospital, one transfer to a service per row.
SELECT
  subject_id,
  hadm_id,
  time,
  event_time,
  available_time,
  split_part(code, '//', 2) AS service
FROM happened
WHERE code LIKE 'SERVICE//%'
