-- Vital signs, weights and settings of ventilators as charted in intensive care and in the emergency department, one
-- value of one item per row: the items of CHART and ED_VITAL that have a line in concepts/items.csv.
SELECT
  e.subject_id,
  e.hadm_id,
  e.stay_id,
  has_flag(e.flags, 'hadm_inferred')        AS hadm_inferred,
  e.time,
  e.event_time,
  e.available_time,
  i.event_type,
  i.item,
  i.concept,
  i.method,
  decimal_value(e.numeric_value)            AS value,
  e.unit,
  e.raw_value,
  e.text_value,
  has_flag(e.flags, 'charted_with_warning') AS charted_with_warning,
  has_flag(e.flags, 'unit_inferred')        AS unit_inferred,
  has_flag(e.flags, 'impossible_value')     AS impossible_value,
  has_flag(e.flags, 'suspicious_value')     AS suspicious_value
FROM happened AS e
JOIN concept_codes AS i ON i.code = e.code
WHERE i.event_type IN ('CHART', 'ED_VITAL')
