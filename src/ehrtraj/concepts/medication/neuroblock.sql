-- Continuous infusions of neuromuscular blockers: one period of constant rate.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/medication/neuroblock.sql
-- row: stay_id, orderid, start
-- mimic-code: starttime = start, endtime = end, without subject_id, without drug, without rate_unit
-- differs: Rocuronium is one; they have only vecuronium and cisatracurium.
-- columns:
--   subject_id      BIGINT     -   Patient.
--   stay_id         BIGINT     -   ICU stay.
--   orderid         BIGINT     -   Entry of the period.
--   start           TIMESTAMP  -   When the rate began.
--   end             TIMESTAMP  -   When it ended.
--   available_time  TIMESTAMP  -   When start and end were known.
--   drug            VARCHAR    -   vecuronium, cisatracurium or rocuronium.
--   drug_rate       DOUBLE     -   Rate, in rate_unit.
--   rate_unit       VARCHAR    -   Unit of the rate.
--   drug_amount     DOUBLE     mg  Amount given in the period.
SELECT
  subject_id,
  stay_id,
  order_id                                     AS orderid,
  start_time                                   AS start,
  end_time                                     AS "end",
  greatest(available_time, end_available_time) AS available_time,
  concept                                      AS drug,
  rate                                         AS drug_rate,
  rate_unit,
  amount                                       AS drug_amount
FROM inputs
WHERE
  concept IN ('vecuronium', 'cisatracurium', CASE WHEN NOT as_mimic_code() THEN 'rocuronium' END)
  AND rate IS NOT NULL
  AND end_time IS NOT NULL
