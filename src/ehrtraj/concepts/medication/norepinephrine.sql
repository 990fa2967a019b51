-- Doses of norepinephrine in intensive care: one period of constant rate, or one push without a rate.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/medication/norepinephrine.sql
-- row: stay_id, linkorderid, start
-- mimic-code: starttime = start, endtime = end, without subject_id
-- columns:
--   subject_id      BIGINT     -  Patient.
--   stay_id         BIGINT     -  ICU stay.
--   linkorderid     BIGINT     -  Order; periods of one order have different rates.
--   start           TIMESTAMP  -  When the rate began.
--   end             TIMESTAMP  -  When it ended.
--   available_time  TIMESTAMP  -  When start and end were known.
--   vaso_rate       DOUBLE     ug/kg/min  Rate.
--   vaso_amount     DOUBLE     mg  Amount given in the period.
SELECT
  subject_id,
  stay_id,
  link_order_id                                AS linkorderid,
  start_time                                   AS start,
  end_time                                     AS "end",
  greatest(available_time, end_available_time) AS available_time,
  rate                                         AS vaso_rate,
  amount                                       AS vaso_amount
FROM inputs
WHERE concept = 'norepinephrine' AND end_time IS NOT NULL
