-- Support of breathing, at each time at which a device or a ventilator mode was charted that shows it.
--
-- The row of the latest `time` is the support that is known; `ventilation` has the episodes. If devices and modes of one
-- time disagree, the order is that of the meanings below.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/treatment/ventilation.sql
-- needs: oxygen_delivery, ventilator_setting
-- row: stay_id, time
-- columns:
--   subject_id          BIGINT     -  Patient.
--   stay_id             BIGINT     -  ICU stay.
--   time                TIMESTAMP  -  When it was charted.
--   available_time      TIMESTAMP  -  When it was known.
--   ventilation_status  VARCHAR    -  Tracheostomy, InvasiveVent, NonInvasiveVent, HFNC, SupplementalOxygen or None.
WITH
charted AS (
  SELECT
    subject_id,
    stay_id,
    time,
    available_time,
    unnest([
      struct_pack(concept := 'ventilator_mode', text := ventilator_mode),
      struct_pack(concept := 'ventilator_mode_hamilton', text := ventilator_mode_hamilton)
    ]) AS setting
  FROM ventilator_setting
  UNION ALL
  SELECT
    subject_id,
    stay_id,
    time,
    available_time,
    struct_pack(concept := 'o2_delivery_device', text := o2_delivery_device_1)
  FROM oxygen_delivery
),
ranked AS (
  SELECT
    c.subject_id,
    c.stay_id,
    c.time,
    c.available_time,
    t.meaning,
    list_position(
      ['Tracheostomy', 'InvasiveVent', 'NonInvasiveVent', 'HFNC', 'SupplementalOxygen', 'None'], t.meaning
    ) AS priority
  FROM charted AS c
  JOIN concept_texts AS t ON t.concept = c.setting['concept'] AND t.text = c.setting['text']
  WHERE c.stay_id IS NOT NULL
)
SELECT
  subject_id,
  stay_id,
  time,
  max(available_time)        AS available_time,
  arg_min(meaning, priority) AS ventilation_status
FROM ranked
WHERE priority IS NOT NULL
GROUP BY subject_id, stay_id, time
