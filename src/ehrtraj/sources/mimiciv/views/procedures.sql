-- Procedures, one per row: those of intensive care with start and end (lines, ventilation, dialysis), and those coded for
-- billing, which have a time at the end of their day (kind icd) or of the day (kind hcpcs).
WITH
used AS MATERIALIZED (
  SELECT
    split_part(code, '//', 1) AS event_type,
    split_part(code, '//', 2) AS item,
    *
  FROM happened
  WHERE split_part(code, '//', 1) IN ('ICU_PROCEDURE_START', 'ICU_PROCEDURE_END', 'PROCEDURE', 'HCPCS')
),
starts AS (
  SELECT * FROM used WHERE event_type = 'ICU_PROCEDURE_START'
),
ends AS (
  SELECT * FROM used WHERE event_type = 'ICU_PROCEDURE_END'
)
SELECT
  'icu'                                  AS kind,
  s.subject_id,
  s.hadm_id,
  s.stay_id,
  s.time                                 AS start_time,
  e.time                                 AS end_time,
  s.available_time,
  e.available_time                       AS end_available_time,
  s.item,
  i.concept,
  i.method,
  s.text_value,
  s.attributes ->> '$.location'          AS location,
  s.attributes ->> '$.ordercategoryname' AS category,
  e.attributes ->> '$.statusdescription' AS status,
  NULL::VARCHAR                          AS code_system,
  NULL::INTEGER                          AS seq,
  s.source_key                           AS order_id
FROM starts AS s
LEFT JOIN ends AS e USING (subject_id, item, source_key)
LEFT JOIN concept_items AS i ON i.event_type = 'ICU_PROCEDURE_START' AND i.item = s.item
UNION ALL
SELECT
  CASE WHEN event_type = 'HCPCS' THEN 'hcpcs' ELSE 'icd' END,
  subject_id,
  hadm_id,
  stay_id,
  time,
  NULL,
  available_time,
  NULL,
  CASE WHEN event_type = 'HCPCS' THEN item ELSE split_part(code, '//', 3) END,
  NULL,
  NULL,
  NULL,
  NULL,
  NULL,
  NULL,
  CASE WHEN event_type = 'HCPCS' THEN 'HCPCS' ELSE item END,
  CAST(attributes ->> '$.seq_num' AS INTEGER),
  NULL
FROM used
WHERE event_type IN ('PROCEDURE', 'HCPCS')
