-- Richmond Agitation-Sedation Scale (RASS), from -5 (unarousable) to +4 (combative); 0 is alert and calm.
--
-- source: Sessler CN et al. Am J Respir Crit Care Med 2002;166:1338-1344, doi:10.1164/rccm.2107138
-- row: subject_id, stay_id, time
-- columns:
--   subject_id      BIGINT     -        Patient.
--   stay_id         BIGINT     -        ICU stay.
--   time            TIMESTAMP  -        When it was charted.
--   available_time  TIMESTAMP  -        When it was known.
--   rass            INTEGER    {score}  Score; the lowest one if several were charted at one time.
SELECT
  subject_id,
  stay_id,
  time,
  max(available_time) AS available_time,
  min(value)          AS rass
FROM vitals
WHERE event_type = 'CHART' AND concept = 'rass' AND plausible_sedation(concept, value)
GROUP BY subject_id, stay_id, event_time, time
