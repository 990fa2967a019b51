-- Sequential Organ Failure Assessment (SOFA) on the first day of a stay in intensive care, by the worst values from 6 hours
-- before the start to 24 hours after it. Missing components count 0 points.
--
-- source: Vincent JL et al. Intensive Care Med 1996;22:707-710, doi:10.1007/BF01709751
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/firstday/first_day_sofa.sql
-- needs: oxygenation, first_day_vitalsign, first_day_lab, first_day_urine_output, first_day_gcs
-- row: stay_id
-- mimic-code: without start, without end
-- differs: They give no points for a P/F ratio from 200 to 399 under invasive ventilation; here it has 2 or 1, as in the
--   definition.
-- differs: They take invasive ventilation from episodes (see `oxygenation`).
-- columns:
--   subject_id      BIGINT     -        Patient.
--   hadm_id         BIGINT     -        Admission.
--   stay_id         BIGINT     -        ICU stay.
--   start           TIMESTAMP  -        When the stay began.
--   end             TIMESTAMP  -        24 hours later.
--   available_time  TIMESTAMP  -        When the day had ended and all values were known.
--   sofa            INTEGER    {score}  Sum, 0 to 24.
--   respiration     INTEGER    {score}  Points for oxygenation; null without values.
--   coagulation     INTEGER    {score}  Points for platelets.
--   liver           INTEGER    {score}  Points for bilirubin.
--   cardiovascular  INTEGER    {score}  Points for blood pressure and drugs.
--   cns             INTEGER    {score}  Points for the Glasgow Coma Scale.
--   renal           INTEGER    {score}  Points for creatinine and urine.
WITH
days AS (
  SELECT subject_id, hadm_id, stay_id, start_time AS start, start_time + INTERVAL 24 HOURS AS "end", available_time
  FROM stays
  WHERE kind = 'icu'
),
gases AS (
  SELECT
    d.stay_id,
    max(o.available_time)                        AS available_time,
    min(o.pao2fio2ratio) FILTER (NOT o.invasive) AS pao2fio2ratio_novent,
    min(o.pao2fio2ratio) FILTER (o.invasive)     AS pao2fio2ratio_vent
  FROM days AS d
  JOIN oxygenation AS o
    ON o.stay_id = d.stay_id AND o.time >= d.start - INTERVAL 6 HOURS AND o.time <= d."end"
  WHERE o.specimen = 'ART.' AND o.pao2fio2ratio IS NOT NULL
  GROUP BY d.stay_id
),
drugs AS (
  SELECT
    d.stay_id,
    max(i.available_time)                             AS available_time,
    max(i.rate) FILTER (i.concept = 'epinephrine')    AS rate_epinephrine,
    max(i.rate) FILTER (i.concept = 'norepinephrine') AS rate_norepinephrine,
    max(i.rate) FILTER (i.concept = 'dopamine')       AS rate_dopamine,
    max(i.rate) FILTER (i.concept = 'dobutamine')     AS rate_dobutamine
  FROM days AS d
  JOIN inputs AS i
    ON i.stay_id = d.stay_id AND i.start_time >= d.start - INTERVAL 6 HOURS AND i.start_time <= d."end"
  WHERE i.concept IN ('epinephrine', 'norepinephrine', 'dopamine', 'dobutamine')
  GROUP BY d.stay_id
),
scored AS (
  SELECT
    d.* REPLACE (
      greatest(
        d.available_time, d."end", o.available_time, i.available_time, v.available_time, l.available_time,
        u.available_time, g.available_time
      ) AS available_time
    ),
    sofa_respiration_points(o.pao2fio2ratio_novent)                                             AS respiration_novent,
    sofa_respiration_ventilated_points(o.pao2fio2ratio_vent)                                    AS respiration_vent,
    sofa_coagulation_points(l.platelets_min)                                                    AS coagulation,
    sofa_liver_points(l.bilirubin_total_max)                                                    AS liver,
    greatest(
      sofa_dopamine_points(i.rate_dopamine),
      sofa_dobutamine_points(i.rate_dobutamine),
      sofa_epinephrine_points(i.rate_epinephrine),
      sofa_norepinephrine_points(i.rate_norepinephrine),
      sofa_mbp_points(v.mbp_min)
    )                                                                                           AS cardiovascular,
    sofa_cns_points(g.gcs_min)                                                                  AS cns,
    greatest(sofa_creatinine_points(l.creatinine_max), sofa_urine_output_points(u.urineoutput)) AS renal
  FROM days AS d
  LEFT JOIN gases AS o ON o.stay_id = d.stay_id
  LEFT JOIN drugs AS i ON i.stay_id = d.stay_id
  LEFT JOIN first_day_vitalsign AS v ON v.stay_id = d.stay_id
  LEFT JOIN first_day_lab AS l ON l.stay_id = d.stay_id
  LEFT JOIN first_day_urine_output AS u ON u.stay_id = d.stay_id
  LEFT JOIN first_day_gcs AS g ON g.stay_id = d.stay_id
),
summed AS (
  SELECT
    * EXCLUDE (respiration_novent, respiration_vent),
    greatest(
      respiration_novent, CASE WHEN as_mimic_code() AND respiration_vent < 3 THEN 0 ELSE respiration_vent END
    ) AS respiration
  FROM scored
)
SELECT
  subject_id,
  hadm_id,
  stay_id,
  start,
  "end",
  available_time,
  respiration,
  coagulation,
  liver,
  cardiovascular,
  cns,
  renal,
  coalesce(respiration, 0) + coalesce(coagulation, 0) + coalesce(liver, 0) + coalesce(cardiovascular, 0)
  + coalesce(cns, 0) + coalesce(renal, 0) AS sofa
FROM summed
