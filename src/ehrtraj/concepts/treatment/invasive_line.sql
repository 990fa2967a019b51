-- Invasive lines: arterial and venous lines, catheters for pressures and dialysis, and circulatory support.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/treatment/invasive_line.sql
-- row: stay_id, order_id
-- mimic-code: starttime = start, endtime = end, without subject_id, without order_id
-- columns:
--   subject_id      BIGINT     -  Patient.
--   stay_id         BIGINT     -  ICU stay.
--   line_type       VARCHAR    -  Kind of line.
--   line_site       VARCHAR    -  Where it was placed.
--   start           TIMESTAMP  -  When it was placed, or the patient came with it.
--   end             TIMESTAMP  -  When it was removed, or the patient left with it.
--   available_time  TIMESTAMP  -  When start and end were known.
--   order_id        BIGINT     -  Entry of the line.
SELECT
  p.subject_id,
  p.stay_id,
  k.meaning                                        AS line_type,
  coalesce(t.meaning, p.location)                  AS line_site,
  p.start_time                                     AS start,
  p.end_time                                       AS "end",
  greatest(p.available_time, p.end_available_time) AS available_time,
  p.order_id
FROM procedures AS p
JOIN concept_texts AS k ON k.concept = 'invasive_line' AND k.text = p.concept
LEFT JOIN concept_texts AS t ON t.concept = 'line_site' AND t.text = p.location
WHERE p.kind = 'icu' AND p.end_time IS NOT NULL
