-- Fluids that left the patient in intensive care, one measurement per row.
-- Irrigant that went in (concept gu_irrigant_in) is a positive number, although it is not an output.
SELECT
  e.subject_id,
  e.hadm_id,
  e.stay_id,
  e.time,
  e.event_time,
  e.available_time,
  split_part(e.code, '//', 2)           AS item,
  i.concept,
  decimal_value(e.numeric_value)        AS value,
  e.unit,
  e.raw_value,
  has_flag(e.flags, 'impossible_value') AS impossible_value,
  has_flag(e.flags, 'suspicious_value') AS suspicious_value
FROM happened AS e
LEFT JOIN concept_items AS i ON i.event_type = 'OUTPUT' AND i.item = split_part(e.code, '//', 2)
WHERE e.code LIKE 'OUTPUT//%'
