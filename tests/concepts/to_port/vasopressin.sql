-- Doses of vasopressin: one period of constant rate, in units per hour.
SELECT
  stay_id,
  link_order_id AS linkorderid,
  rate          AS vaso_rate,
  amount        AS vaso_amount,
  start_time    AS starttime,
  end_time      AS endtime
FROM inputs
WHERE concept = 'vasopressin'
