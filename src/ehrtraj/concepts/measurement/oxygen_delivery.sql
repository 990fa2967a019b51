-- Oxygen delivery, at each time at which a flow or a device was charted: the flows and up to four devices.
--
-- If a flow was charted more than once, it is the one that was entered last. Devices are in the order of entry, the last
-- one first.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/oxygen_delivery.sql
-- row: subject_id, time
-- mimic-code: charttime = time
-- differs: They drop devices that were charted without a flow, by a filter after an outer join
--   (MIT-LCP/mimic-code, issue 1570); they are included here.
-- columns:
--   subject_id            BIGINT     -      Patient.
--   stay_id               BIGINT     -      ICU stay.
--   time                  TIMESTAMP  -      When it was charted.
--   available_time        TIMESTAMP  -      When all values of the row were known.
--   o2_flow               DOUBLE     L/min  Oxygen flow.
--   o2_flow_additional    DOUBLE     L/min  Oxygen flow of an additional cannula.
--   o2_delivery_device_1  VARCHAR    -      Device that was entered last.
--   o2_delivery_device_2  VARCHAR    -      Second device.
--   o2_delivery_device_3  VARCHAR    -      Third device.
--   o2_delivery_device_4  VARCHAR    -      Fourth device.
WITH
charted AS (
  SELECT
    subject_id,
    stay_id,
    time,
    event_time,
    available_time,
    CASE WHEN concept = 'o2_flow' AND method = 'additional' THEN 'o2_flow_additional' ELSE concept END AS kind,
    value,
    text_value
  FROM vitals
  WHERE event_type = 'CHART' AND concept IN ('o2_flow', 'o2_delivery_device')
),
numbered AS (
  SELECT
    *,
    row_number() OVER (
      PARTITION BY subject_id, event_time, time, kind
      ORDER BY available_time DESC, value DESC NULLS LAST, text_value DESC
    ) AS nth
  FROM charted
)
SELECT
  subject_id,
  max(stay_id)                                                     AS stay_id,
  time,
  max(available_time)                                              AS available_time,
  max(value) FILTER (kind = 'o2_flow' AND nth = 1)                 AS o2_flow,
  max(value) FILTER (kind = 'o2_flow_additional' AND nth = 1)      AS o2_flow_additional,
  max(text_value) FILTER (kind = 'o2_delivery_device' AND nth = 1) AS o2_delivery_device_1,
  max(text_value) FILTER (kind = 'o2_delivery_device' AND nth = 2) AS o2_delivery_device_2,
  max(text_value) FILTER (kind = 'o2_delivery_device' AND nth = 3) AS o2_delivery_device_3,
  max(text_value) FILTER (kind = 'o2_delivery_device' AND nth = 4) AS o2_delivery_device_4
FROM numbered
GROUP BY subject_id, event_time, time
HAVING NOT as_mimic_code() OR bool_or(kind <> 'o2_delivery_device')
