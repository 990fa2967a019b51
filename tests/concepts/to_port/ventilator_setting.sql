-- Settings and measurements of the ventilator.
SELECT
  subject_id,
  max(stay_id)                                                     AS stay_id,
  time                                                             AS charttime,
  max(value) FILTER (concept = 'respiratory_rate_set')             AS respiratory_rate_set,
  max(value) FILTER (concept = 'resp_rate')                        AS respiratory_rate_total,
  max(value) FILTER (concept = 'respiratory_rate_spontaneous')     AS respiratory_rate_spontaneous,
  max(value) FILTER (concept = 'minute_volume')                    AS minute_volume,
  max(value) FILTER (concept = 'tidal_volume_set')                 AS tidal_volume_set,
  max(value) FILTER (concept = 'tidal_volume_observed')            AS tidal_volume_observed,
  max(value) FILTER (concept = 'tidal_volume_spontaneous')         AS tidal_volume_spontaneous,
  max(value) FILTER (concept = 'plateau_pressure')                 AS plateau_pressure,
  max(value) FILTER (concept = 'peep' AND value BETWEEN 0 AND 100) AS peep,
  max(CASE WHEN value BETWEEN 0.2 AND 1 THEN value * 100 WHEN value BETWEEN 20 AND 100 THEN value END)
  FILTER (concept = 'fio2')                                        AS fio2,
  max(value) FILTER (concept = 'flow_rate')                        AS flow_rate,
  max(text_value) FILTER (concept = 'ventilator_mode')             AS ventilator_mode,
  max(text_value) FILTER (concept = 'ventilator_mode_hamilton')    AS ventilator_mode_hamilton,
  max(text_value) FILTER (concept = 'ventilator_type')             AS ventilator_type
FROM vitals
WHERE
  event_type = 'CHART'
  AND stay_id IS NOT NULL
  AND (
    (concept = 'resp_rate' AND method = 'ventilator')
    OR concept IN (
      'respiratory_rate_set',
      'respiratory_rate_spontaneous',
      'minute_volume',
      'tidal_volume_set',
      'tidal_volume_observed',
      'tidal_volume_spontaneous', 'plateau_pressure', 'peep', 'fio2', 'flow_rate', 'ventilator_mode',
      'ventilator_mode_hamilton', 'ventilator_type'
    )
  )
GROUP BY subject_id, time
