-- Oxford Acute Severity of Illness Score (OASIS) of the first day of a stay in intensive care. Missing components count 0
-- points.
--
-- source: Johnson AEW et al. Crit Care Med 2013;41:1711-1718, doi:10.1097/CCM.0b013e31828a24fe
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/score/oasis.sql
-- needs: first_day_ventilation, first_day_gcs, first_day_vitalsign, first_day_urine_output
-- row: stay_id
-- mimic-code: without start, without end
-- differs: Surgery on the day of a planned admission is elective; they score it as unscheduled.
-- differs: They take invasive ventilation from episodes (see `first_day_ventilation`).
-- columns:
--   subject_id             BIGINT     -        Patient.
--   hadm_id                BIGINT     -        Admission.
--   stay_id                BIGINT     -        ICU stay.
--   start                  TIMESTAMP  -        When the stay began.
--   end                    TIMESTAMP  -        24 hours later.
--   available_time         TIMESTAMP  -        When the day had ended and all values were known.
--   oasis                  INTEGER    {score}  Score.
--   oasis_prob             DOUBLE     1        Probability of death in hospital.
--   age                    BIGINT     a        Age at admission.
--   age_score              INTEGER    {score}  Its points.
--   preiculos              BIGINT     min      Minutes in hospital before the stay.
--   preiculos_score        INTEGER    {score}  Their points.
--   gcs                    DOUBLE     {score}  Lowest Glasgow Coma Scale.
--   gcs_score              INTEGER    {score}  Its points.
--   heartrate              DOUBLE     /min     Heart rate that has the points, or the middle of the range.
--   heart_rate_score       INTEGER    {score}  Its points.
--   meanbp                 DOUBLE     mm[Hg]   Mean blood pressure that has the points, or the middle of the range.
--   mbp_score              INTEGER    {score}  Its points.
--   resprate               DOUBLE     /min     Respiratory rate that has the points, or the middle of the range.
--   resp_rate_score        INTEGER    {score}  Its points.
--   temp                   DOUBLE     Cel      Temperature that has the points, or the middle of the range.
--   temp_score             INTEGER    {score}  Its points.
--   urineoutput            DOUBLE     mL       Urine.
--   urineoutput_score      INTEGER    {score}  Its points.
--   mechvent               INTEGER    -        1 if ventilated invasively, otherwise 0.
--   mechvent_score         INTEGER    {score}  Its points.
--   electivesurgery        INTEGER    -        1 for an elective admission with surgery, otherwise 0.
--   electivesurgery_score  INTEGER    {score}  Its points.
WITH
surgery AS (
  SELECT
    s.stay_id,
    max(v.available_time) AS available_time,
    count(t.text) > 0     AS surgical
  FROM stays AS s
  JOIN services AS v ON v.hadm_id = s.hadm_id AND v.time < s.start_time + INTERVAL 24 HOURS
  LEFT JOIN concept_texts AS t
    ON t.concept = 'service' AND t.meaning IN ('surgical', 'orthopedic') AND t.text = v.service
  WHERE s.kind = 'icu'
  GROUP BY s.stay_id
),
worst AS (
  SELECT
    s.subject_id,
    s.hadm_id,
    s.stay_id,
    s.start_time                                                        AS start,
    s.start_time + INTERVAL 24 HOURS                                    AS "end",
    greatest(
      s.available_time, s.start_time + INTERVAL 24 HOURS, a.available_time, r.available_time, m.available_time,
      g.available_time, v.available_time, u.available_time
    )                                                                   AS available_time,
    a.age,
    date_diff('minute', a.start_time, s.start_time)                     AS preiculos,
    g.gcs_min                                                           AS gcs,
    v.heart_rate_min,
    v.heart_rate_max,
    v.mbp_min,
    v.mbp_max,
    v.resp_rate_min,
    v.resp_rate_max,
    v.temperature_min,
    v.temperature_max,
    u.urineoutput,
    CAST(m.ventilated AS INTEGER)                                       AS mechvent,
    CAST(e.text IS NOT NULL AND coalesce(r.surgical, false) AS INTEGER) AS electivesurgery
  FROM stays AS s
  JOIN stays AS a ON a.kind = 'admission' AND a.subject_id = s.subject_id AND a.hadm_id = s.hadm_id
  LEFT JOIN concept_texts AS e
    ON
      e.concept = 'admission_type'
      AND (e.meaning = 'elective' OR (e.meaning = 'planned' AND NOT as_mimic_code()))
      AND e.text = a.start_item
  LEFT JOIN surgery AS r ON r.stay_id = s.stay_id
  LEFT JOIN first_day_ventilation AS m ON m.stay_id = s.stay_id
  LEFT JOIN first_day_gcs AS g ON g.stay_id = s.stay_id
  LEFT JOIN first_day_vitalsign AS v ON v.stay_id = s.stay_id
  LEFT JOIN first_day_urine_output AS u ON u.stay_id = s.stay_id
  WHERE s.kind = 'icu'
),
scored AS (
  SELECT
    *,
    oasis_age_points(age)                          AS age_score,
    oasis_pre_icu_minutes_points(preiculos)        AS preiculos_score,
    oasis_gcs_points(gcs)                          AS gcs_score,
    oasis_heart_rate_max_points(heart_rate_max)    AS heart_rate_max_score,
    oasis_heart_rate_min_points(heart_rate_min)    AS heart_rate_min_score,
    oasis_mbp_max_points(mbp_max)                  AS mbp_max_score,
    oasis_mbp_min_points(mbp_min)                  AS mbp_min_score,
    oasis_resp_rate_max_points(resp_rate_max)      AS resp_rate_max_score,
    oasis_resp_rate_min_points(resp_rate_min)      AS resp_rate_min_score,
    oasis_temperature_max_points(temperature_max)  AS temp_max_score,
    oasis_temperature_min_points(temperature_min)  AS temp_min_score,
    oasis_urine_output_points(urineoutput)         AS urineoutput_score,
    oasis_ventilation_points(mechvent)             AS mechvent_score,
    oasis_elective_surgery_points(electivesurgery) AS electivesurgery_score
  FROM worst
),
summed AS (
  SELECT
    *,
    greatest(heart_rate_min_score, heart_rate_max_score) AS heart_rate_score,
    CASE
      WHEN heart_rate_max_score > heart_rate_min_score THEN heart_rate_max
      WHEN heart_rate_min_score > 0 THEN heart_rate_min
      ELSE (heart_rate_min + heart_rate_max) / 2
    END                                                  AS heartrate,
    greatest(mbp_min_score, mbp_max_score)               AS mbp_score,
    CASE
      WHEN mbp_max_score > mbp_min_score THEN mbp_max
      WHEN mbp_min_score > 0 THEN mbp_min
      ELSE (mbp_min + mbp_max) / 2
    END                                                  AS meanbp,
    greatest(resp_rate_min_score, resp_rate_max_score)   AS resp_rate_score,
    CASE
      WHEN resp_rate_min_score > resp_rate_max_score THEN resp_rate_min
      WHEN resp_rate_max_score > 0 THEN resp_rate_max
      ELSE (resp_rate_min + resp_rate_max) / 2
    END                                                  AS resprate,
    greatest(temp_min_score, temp_max_score)             AS temp_score,
    CASE
      WHEN temp_max_score > temp_min_score THEN temperature_max
      WHEN temp_min_score > 0 THEN temperature_min
      ELSE (temperature_min + temperature_max) / 2
    END                                                  AS temp
  FROM scored
),
total AS (
  SELECT
    *,
    coalesce(age_score, 0) + coalesce(preiculos_score, 0) + coalesce(gcs_score, 0) + coalesce(heart_rate_score, 0)
    + coalesce(mbp_score, 0) + coalesce(resp_rate_score, 0) + coalesce(temp_score, 0) + coalesce(urineoutput_score, 0)
    + coalesce(mechvent_score, 0) + coalesce(electivesurgery_score, 0) AS oasis
  FROM summed
)
SELECT *, 1 / (1 + exp(6.1746 - 0.1275 * oasis)) AS oasis_prob
FROM total
