-- Body height, as charted in intensive care, in centimetres or in inches.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/height.sql
-- row: subject_id, time
-- mimic-code: charttime = time
-- columns:
--   subject_id      BIGINT     -   Patient.
--   stay_id         BIGINT     -   ICU stay.
--   time            TIMESTAMP  -   When it was charted.
--   available_time  TIMESTAMP  -   When all values of the row were known.
--   height          DOUBLE     cm  Height; the one in centimetres if both were charted.
SELECT
  subject_id,
  max(stay_id)                                                               AS stay_id,
  time,
  max(available_time)                                                        AS available_time,
  round(coalesce(max(value) FILTER (method = 'centimetres'), max(value)), 2) AS height
FROM vitals
WHERE event_type = 'CHART' AND concept = 'height' AND value IS NOT NULL
GROUP BY subject_id, event_time, time
HAVING plausible_body('height', height)
