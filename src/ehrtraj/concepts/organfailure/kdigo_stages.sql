-- Stage of acute kidney injury (AKI) by KDIGO, at each time of a creatinine, of urine output or of a setting of continuous
-- renal replacement therapy (CRRT).
--
-- The baseline is the lowest creatinine of the 7 days before. Urine counts from 6 hours after the start of the stay.
-- Differences and ratios of creatinine are decimals, because 1.3 - 1.0 is less than 0.3 in binary.
--
-- source: KDIGO Clinical Practice Guideline for Acute Kidney Injury. Kidney Int Suppl 2012;2:1-138, table 2,
--   doi:10.1038/kisup.2012.1
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/organfailure/kdigo_stages.sql
-- needs: kdigo_creatinine, kdigo_uo, crrt
-- row: stay_id, time
-- mimic-code: charttime = time
-- differs: They compare creatinine in binary floating point, so that a rise of exactly 0.3 mg/dL or a ratio of exactly
--   1.5 is not always one.
-- differs: They smooth over all stays of a patient by the time since the start of each, so that stages of one stay appear
--   in another one; here it is the stay alone.
-- differs: A stay without any of these has no row; they have one without a time.
-- columns:
--   subject_id           BIGINT     -        Patient.
--   hadm_id              BIGINT     -        Admission of the stay.
--   stay_id              BIGINT     -        ICU stay.
--   time                 TIMESTAMP  -        When the creatinine, urine or setting was recorded.
--   available_time       TIMESTAMP  -        When everything that the row depends on was known.
--   creat_low_past_7day  DOUBLE     mg/dL    Lowest creatinine of the 7 days before.
--   creat_low_past_48hr  DOUBLE     mg/dL    Lowest creatinine of the 48 hours before.
--   creat                DOUBLE     mg/dL    Creatinine.
--   aki_stage_creat      INTEGER    {stage}  Stage by creatinine, 0 to 3.
--   uo_rt_6hr            DOUBLE     mL/kg/h  Urine over 6 hours.
--   uo_rt_12hr           DOUBLE     mL/kg/h  Urine over 12 hours.
--   uo_rt_24hr           DOUBLE     mL/kg/h  Urine over 24 hours.
--   aki_stage_uo         INTEGER    {stage}  Stage by urine output, 0 to 3.
--   aki_stage_crrt       INTEGER    {stage}  3 under CRRT.
--   aki_stage            INTEGER    {stage}  Highest of the three.
--   aki_stage_smoothed   INTEGER    {stage}  Highest stage of the last 6 hours.
WITH
creatinine AS (
  SELECT
    *,
    round(creat / creat_low_past_7day, 6) AS increase,
    round(creat - creat_low_past_48hr, 6) AS rise
  FROM kdigo_creatinine
),
by_creatinine AS (
  SELECT
    * EXCLUDE (increase, rise),
    CASE
      -- In binary, as they do, with the cut-offs of the points.
      WHEN as_mimic_code()
        THEN
          CASE
            WHEN creat >= creat_low_past_7day * 3.0 THEN 3
            WHEN creat >= 4 AND (creat >= creat_low_past_48hr + 0.3 OR creat >= 1.5 * creat_low_past_7day) THEN 3
            WHEN creat >= creat_low_past_7day * 2.0 THEN 2
            WHEN creat >= creat_low_past_48hr + 0.3 OR creat >= creat_low_past_7day * 1.5 THEN 1
            ELSE 0
          END
      ELSE
        greatest(
          kdigo_increase_7d_points(increase),
          kdigo_rise_48h_points(rise),
          CASE
            WHEN kdigo_rise_48h_points(rise) > 0 OR kdigo_increase_7d_points(increase) > 0
              THEN kdigo_creatinine_points(creat)
          END,
          0
        )
    END AS stage
  FROM creatinine
),
by_urine AS (
  SELECT
    u.*,
    CASE
      WHEN u.uo_rt_6hr IS NULL THEN NULL
      WHEN u.time <= s.start_time + INTERVAL 6 HOURS THEN 0
      ELSE
        greatest(
          kdigo_urine_6h_points(u.uo_rt_6hr),
          kdigo_urine_12h_points(u.uo_rt_12hr),
          kdigo_urine_24h_points(u.uo_rt_24hr)
        )
    END AS stage
  FROM kdigo_uo AS u
  JOIN stays AS s ON s.kind = 'icu' AND s.stay_id = u.stay_id
),
by_crrt AS (
  SELECT stay_id, time, min(available_time) AS available_time, 3 AS stage
  FROM crrt
  WHERE crrt_mode IS NOT NULL
  GROUP BY stay_id, time
),
times AS (
  SELECT stay_id, time FROM by_creatinine
  UNION
  SELECT stay_id, time FROM by_urine
  UNION
  SELECT stay_id, time FROM by_crrt
),
staged AS (
  SELECT
    s.subject_id,
    s.hadm_id,
    s.stay_id,
    t.time,
    date_diff('second', s.start_time, t.time)                                             AS seconds,
    greatest(s.available_time, cr.available_time, uo.available_time, crrt.available_time) AS available_time,
    cr.creat_low_past_7day,
    cr.creat_low_past_48hr,
    cr.creat,
    cr.stage                                                                              AS aki_stage_creat,
    uo.uo_rt_6hr,
    uo.uo_rt_12hr,
    uo.uo_rt_24hr,
    uo.stage                                                                              AS aki_stage_uo,
    crrt.stage                                                                            AS aki_stage_crrt,
    greatest(cr.stage, uo.stage, crrt.stage, 0)                                           AS aki_stage
  FROM stays AS s
  JOIN times AS t ON t.stay_id = s.stay_id
  LEFT JOIN by_creatinine AS cr ON cr.stay_id = t.stay_id AND cr.time = t.time
  LEFT JOIN by_urine AS uo ON uo.stay_id = t.stay_id AND uo.time = t.time
  LEFT JOIN by_crrt AS crrt ON crrt.stay_id = t.stay_id AND crrt.time = t.time
  WHERE s.kind = 'icu'
)
SELECT
  * EXCLUDE (seconds) REPLACE (max(available_time) OVER of_stay AS available_time),
  CASE WHEN as_mimic_code() THEN max(aki_stage) OVER of_patient ELSE max(aki_stage) OVER of_stay END
    AS aki_stage_smoothed
FROM staged
WINDOW
  of_stay AS (
    PARTITION BY stay_id ORDER BY time RANGE BETWEEN INTERVAL 6 HOURS PRECEDING AND CURRENT ROW
  ),
  of_patient AS (PARTITION BY subject_id ORDER BY seconds RANGE BETWEEN 21600 PRECEDING AND CURRENT ROW)
