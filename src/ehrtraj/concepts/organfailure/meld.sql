-- Model for End-Stage Liver Disease (MELD) on the first day of a stay in intensive care, by the worst values, without and
-- with sodium. Missing values count as normal.
--
-- source: Kamath PS et al. Hepatology 2001;33:464-470, doi:10.1053/jhep.2001.22172
-- source: UNOS. Policy 9: Allocation of livers and liver-intestines, 9.1.D MELD score (2016)
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/organfailure/meld.sql
-- needs: first_day_lab, first_day_rrt
-- row: stay_id
-- mimic-code: without start, without end
-- columns:
--   subject_id           BIGINT     -        Patient.
--   hadm_id              BIGINT     -        Admission.
--   stay_id              BIGINT     -        ICU stay.
--   start                TIMESTAMP  -        When the stay began.
--   end                  TIMESTAMP  -        24 hours later.
--   available_time       TIMESTAMP  -        When the day had ended and all values were known.
--   meld_initial         DOUBLE     {score}  MELD without sodium, at most 40.
--   meld                 DOUBLE     {score}  MELD with sodium.
--   rrt                  INTEGER    -        1 under dialysis, 0 without; null if unknown.
--   creatinine_max       DOUBLE     mg/dL    Highest creatinine.
--   bilirubin_total_max  DOUBLE     mg/dL    Highest total bilirubin.
--   inr_max              DOUBLE     -        Highest INR.
--   sodium_min           DOUBLE     mmol/L   Lowest sodium.
WITH
worst AS (
  SELECT
    s.subject_id,
    s.hadm_id,
    s.stay_id,
    s.start_time                     AS start,
    s.start_time + INTERVAL 24 HOURS AS "end",
    greatest(
      s.available_time, s.start_time + INTERVAL 24 HOURS, l.available_time, r.available_time
    )                                AS available_time,
    r.dialysis_present               AS rrt,
    l.creatinine_max,
    l.bilirubin_total_max,
    l.inr_max,
    l.sodium_min
  FROM stays AS s
  LEFT JOIN first_day_lab AS l ON l.stay_id = s.stay_id
  LEFT JOIN first_day_rrt AS r ON r.stay_id = s.stay_id
  WHERE s.kind = 'icu'
),
-- The formula bounds its values: creatinine from 1 to 4, and 4 under dialysis, the others from 1.
logarithms AS (
  SELECT
    *,
    0.957 * ln(CASE WHEN rrt = 1 THEN 4 ELSE greatest(least(coalesce(creatinine_max, 1), 4), 1) END)
    + 0.378 * ln(greatest(bilirubin_total_max, 1))
    + 1.12 * ln(greatest(inr_max, 1))
    + 0.643                                                    AS total,
    137 - least(greatest(coalesce(sodium_min, 137), 125), 137) AS sodium_deficit
  FROM worst
),
initial AS (
  SELECT
    * EXCLUDE (total),
    CASE WHEN total > 4 THEN 40 ELSE round(CAST(total AS DECIMAL(38, 9)), 1) * 10 END AS meld_initial
  FROM logarithms
)
SELECT
  * EXCLUDE (sodium_deficit),
  CASE
    WHEN meld_initial > 11 THEN meld_initial + 1.32 * sodium_deficit - 0.033 * meld_initial * sodium_deficit
    ELSE meld_initial
  END AS meld
FROM initial
