-- Settings and measurements of the ventilator, at each time at which any was charted.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/ventilator_setting.sql
-- row: subject_id, time
-- mimic-code: charttime = time
-- differs: They keep impossible volumes, such as a tidal volume of 585 L; here they are null (flag impossible_value).
-- columns:
--   subject_id                    BIGINT     -        Patient.
--   stay_id                       BIGINT     -        ICU stay.
--   time                          TIMESTAMP  -        When it was charted.
--   available_time                TIMESTAMP  -        When all values of the row were known.
--   respiratory_rate_set          DOUBLE     /min     Respiratory rate, as set.
--   respiratory_rate_total        DOUBLE     /min     Respiratory rate, total.
--   respiratory_rate_spontaneous  DOUBLE     /min     Respiratory rate, spontaneous.
--   minute_volume                 DOUBLE     L/min    Minute volume.
--   tidal_volume_set              DOUBLE     mL       Tidal volume, as set.
--   tidal_volume_observed         DOUBLE     mL       Tidal volume, observed.
--   tidal_volume_spontaneous      DOUBLE     mL       Tidal volume, spontaneous.
--   plateau_pressure              DOUBLE     cm[H2O]  Plateau pressure.
--   peep                          DOUBLE     cm[H2O]  Positive end-expiratory pressure.
--   fio2                          DOUBLE     %        Inspired oxygen.
--   flow_rate                     DOUBLE     L/min    Flow.
--   ventilator_mode               VARCHAR    -        Mode of the ventilator.
--   ventilator_mode_hamilton      VARCHAR    -        Mode of a Hamilton ventilator.
--   ventilator_type               VARCHAR    -        Kind of ventilator.
WITH charted AS (
  SELECT
    subject_id,
    stay_id,
    time,
    event_time,
    available_time,
    concept,
    text_value,
    CASE
      WHEN concept = 'fio2' AND plausible_ventilator('fio2_percent', value) THEN value
      WHEN concept = 'fio2' AND plausible_ventilator('fio2_fraction', value) THEN value * 100
      WHEN concept = 'fio2' OR (concept = 'peep' AND NOT plausible_ventilator('peep', value)) THEN NULL
      WHEN as_mimic_code() AND impossible_value THEN decimal_value(raw_value)
      ELSE value
    END AS value
  FROM vitals
  WHERE
    event_type = 'CHART'
    AND stay_id IS NOT NULL
    AND (
      (concept = 'resp_rate' AND method = 'ventilator')
      OR concept IN (
        'respiratory_rate_set', 'respiratory_rate_spontaneous', 'minute_volume', 'tidal_volume_set',
        'tidal_volume_observed', 'tidal_volume_spontaneous', 'plateau_pressure', 'peep', 'fio2', 'flow_rate',
        'ventilator_mode', 'ventilator_mode_hamilton', 'ventilator_type'
      )
    )
)
SELECT
  subject_id,
  max(stay_id)                                                  AS stay_id,
  time,
  max(available_time)                                           AS available_time,
  max(value) FILTER (concept = 'respiratory_rate_set')          AS respiratory_rate_set,
  max(value) FILTER (concept = 'resp_rate')                     AS respiratory_rate_total,
  max(value) FILTER (concept = 'respiratory_rate_spontaneous')  AS respiratory_rate_spontaneous,
  max(value) FILTER (concept = 'minute_volume')                 AS minute_volume,
  max(value) FILTER (concept = 'tidal_volume_set')              AS tidal_volume_set,
  max(value) FILTER (concept = 'tidal_volume_observed')         AS tidal_volume_observed,
  max(value) FILTER (concept = 'tidal_volume_spontaneous')      AS tidal_volume_spontaneous,
  max(value) FILTER (concept = 'plateau_pressure')              AS plateau_pressure,
  max(value) FILTER (concept = 'peep')                          AS peep,
  max(value) FILTER (concept = 'fio2')                          AS fio2,
  max(value) FILTER (concept = 'flow_rate')                     AS flow_rate,
  max(text_value) FILTER (concept = 'ventilator_mode')          AS ventilator_mode,
  max(text_value) FILTER (concept = 'ventilator_mode_hamilton') AS ventilator_mode_hamilton,
  max(text_value) FILTER (concept = 'ventilator_type')          AS ventilator_type
FROM charted
GROUP BY subject_id, event_time, time
