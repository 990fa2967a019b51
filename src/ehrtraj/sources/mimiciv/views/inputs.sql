-- Drugs, fluids and feeds given in intensive care, one period of constant rate or one push per row.
-- Start and end of a period are joined. A push has no rate. weight is the one that the pump used for the dose, in kg; it
-- is null if the source has the placeholder of 1 kg.
WITH
starts AS (
  SELECT split_part(code, '//', 2) AS item, *
  FROM happened
  WHERE code LIKE 'INPUT\_START//%' ESCAPE '\'
),
ends AS (
  SELECT split_part(code, '//', 2) AS item, *
  FROM happened
  WHERE code LIKE 'INPUT\_END//%' ESCAPE '\'
)
SELECT
  s.subject_id,
  s.hadm_id,
  s.stay_id,
  s.time                                            AS start_time,
  e.time                                            AS end_time,
  s.available_time,
  e.available_time                                  AS end_available_time,
  s.item,
  i.concept,
  decimal_value(s.numeric_value)                    AS rate,
  s.unit                                            AS rate_unit,
  decimal_value(e.numeric_value)                    AS amount,
  e.unit                                            AS amount_unit,
  decimal_value(s.attributes ->> '$.patientweight') AS weight,
  has_flag(s.flags, 'weight_placeholder')           AS weight_placeholder,
  s.attributes ->> '$.ordercategoryname'            AS category,
  e.attributes ->> '$.statusdescription'            AS status,
  s.source_key                                      AS order_id,
  s.link_id                                         AS link_order_id,
  has_flag(s.flags, 'impossible_value')             AS impossible_rate,
  has_flag(s.flags, 'suspicious_value')             AS suspicious_rate
FROM starts AS s
LEFT JOIN ends AS e USING (subject_id, item, source_key)
LEFT JOIN concept_items AS i ON i.event_type = 'INPUT_START' AND i.item = s.item
