-- Heart rhythm and ectopic beats, at each time at which they were charted.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/rhythm.sql
-- row: subject_id, time
-- mimic-code: charttime = time, without stay_id
-- differs: Some of their rhythms have a blank before the semicolon; texts of the dataset are trimmed.
-- columns:
--   subject_id                  BIGINT     -  Patient.
--   stay_id                     BIGINT     -  ICU stay.
--   time                        TIMESTAMP  -  When it was charted.
--   available_time              TIMESTAMP  -  When all values of the row were known.
--   heart_rhythm                VARCHAR    -  Rhythm; several are in the order of the alphabet with `; ` between them.
--   ectopy_type                 VARCHAR    -  Kind of ectopic beats.
--   ectopy_frequency            VARCHAR    -  How often they occur.
--   ectopy_type_secondary       VARCHAR    -  Second kind of ectopic beats.
--   ectopy_frequency_secondary  VARCHAR    -  How often these occur.
SELECT
  subject_id,
  max(stay_id)                                                                                AS stay_id,
  time,
  max(available_time)                                                                         AS available_time,
  string_agg(DISTINCT text_value, '; ' ORDER BY text_value) FILTER (concept = 'heart_rhythm') AS heart_rhythm,
  max(text_value) FILTER (concept = 'ectopy_type' AND method = 'primary')                     AS ectopy_type,
  max(text_value) FILTER (concept = 'ectopy_frequency' AND method = 'primary')                AS ectopy_frequency,
  max(text_value) FILTER (concept = 'ectopy_type' AND method = 'secondary')                   AS ectopy_type_secondary,
  max(text_value) FILTER (concept = 'ectopy_frequency' AND method = 'secondary')
    AS ectopy_frequency_secondary
FROM vitals
WHERE
  event_type = 'CHART'
  AND stay_id IS NOT NULL
  AND concept IN ('heart_rhythm', 'ectopy_type', 'ectopy_frequency')
GROUP BY subject_id, event_time, time
