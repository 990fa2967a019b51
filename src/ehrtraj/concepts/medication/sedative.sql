-- Sedatives given in intensive care: one period of constant rate, or one push without a rate. Analgesics are not included.
--
-- source: Devlin JW et al., Crit Care Med 2018, doi:10.1097/CCM.0000000000003299
-- row: stay_id, order_id, start
-- columns:
--   subject_id      BIGINT     -  Patient.
--   stay_id         BIGINT     -  ICU stay.
--   order_id        BIGINT     -  Entry of the period.
--   start           TIMESTAMP  -  When the rate began, or the push was given.
--   end             TIMESTAMP  -  When it ended.
--   available_time  TIMESTAMP  -  When start and end were known.
--   drug            VARCHAR    -  propofol, midazolam, dexmedetomidine, ketamine, lorazepam, diazepam or pentobarbital.
--   rate            DOUBLE     -  Rate, in rate_unit; null for a push.
--   rate_unit       VARCHAR    -  Unit of the rate.
--   amount          DOUBLE     -  Amount given, in amount_unit.
--   amount_unit     VARCHAR    -  Unit of the amount.
SELECT
  subject_id,
  stay_id,
  order_id,
  start_time                                   AS start,
  end_time                                     AS "end",
  greatest(available_time, end_available_time) AS available_time,
  concept                                      AS drug,
  rate,
  rate_unit,
  amount,
  amount_unit
FROM inputs
WHERE
  concept IN ('propofol', 'midazolam', 'dexmedetomidine', 'ketamine', 'lorazepam', 'diazepam', 'pentobarbital')
  AND end_time IS NOT NULL
