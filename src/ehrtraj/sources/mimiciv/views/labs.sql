-- Laboratory results, one analyte of one specimen per row.
-- concept and method are null for items without a line in concepts/items.csv. value is null for a result that is a
-- text, a bound (operator, bound) or missing.
SELECT
  e.subject_id,
  e.hadm_id,
  has_flag(e.flags, 'hadm_inferred')        AS hadm_inferred,
  e.time,
  e.event_time,
  e.available_time,
  split_part(e.code, '//', 2)               AS item,
  i.concept,
  i.method,
  decimal_value(e.numeric_value)            AS value,
  e.unit,
  e.raw_value,
  e.text_value,
  e.attributes ->> '$.operator'             AS operator,
  decimal_value(e.attributes ->> '$.bound') AS bound,
  e.link_id                                 AS specimen_id,
  has_flag(e.flags, 'unit_assumed')         AS unit_assumed,
  has_flag(e.flags, 'impossible_value')     AS impossible_value,
  has_flag(e.flags, 'suspicious_value')     AS suspicious_value
FROM happened AS e
LEFT JOIN concept_codes AS i ON i.code = e.code
WHERE e.code LIKE 'LAB//%'
