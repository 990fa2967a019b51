-- Stays in intensive care with their admission, once both have ended.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/demographics/icustay_detail.sql
-- row: stay_id
-- mimic-code: icu_intime = start, icu_outtime = end
-- differs: A patient who died was discharged at the death; they have the recorded discharge, which can be earlier.
-- differs: dod is a death known when the patient was discharged; they also have deaths after that.
-- differs: A stay or admission without an end has no row.
-- columns:
--   subject_id            BIGINT     -  Patient.
--   hadm_id               BIGINT     -  Admission.
--   stay_id               BIGINT     -  ICU stay.
--   gender                VARCHAR    -  Sex, F or M.
--   dod                   DATE       -  Day of the death.
--   admittime             TIMESTAMP  -  When the patient was admitted.
--   dischtime             TIMESTAMP  -  When the patient was discharged or died.
--   los_hospital          BIGINT     d  Days in hospital, as midnights from admission to discharge.
--   admission_age         BIGINT     a  Age at admission.
--   race                  VARCHAR    -  As recorded for the admission.
--   hospital_expire_flag  INTEGER    -  1 if the patient died in hospital, else 0.
--   hospstay_seq          BIGINT     -  Number of the admission among those of the patient with intensive care.
--   first_hosp_stay       BOOLEAN    -  Whether it is the first one.
--   start                 TIMESTAMP  -  When the ICU stay began.
--   end                   TIMESTAMP  -  When the ICU stay ended.
--   available_time        TIMESTAMP  -  When the ends of stay and admission were known.
--   los_icu               DOUBLE     d  Days in intensive care, as full hours on the clock, with 2 digits.
--   icustay_seq           BIGINT     -  Number of the ICU stay in the admission.
--   first_icu_stay        BOOLEAN    -  Whether it is the first one.
WITH numbered AS (
  SELECT
    i.*,
    a.start_time                                                           AS admittime,
    CASE WHEN as_mimic_code() THEN a.recorded_end_time ELSE a.end_time END AS dischtime,
    a.age                                                                  AS admission_age,
    a.race                                                                 AS admission_race,
    a.died                                                                 AS died_in_hospital,
    greatest(i.available_time, i.end_available_time, a.end_available_time) AS known_time,
    dense_rank() OVER (PARTITION BY i.subject_id ORDER BY a.start_time)    AS hospstay_seq,
    dense_rank() OVER (PARTITION BY i.hadm_id ORDER BY i.start_time)       AS icustay_seq,
    i.end_available_time IS NOT NULL AND a.end_available_time IS NOT NULL  AS complete
  FROM stays AS i
  JOIN stays AS a ON a.kind = 'admission' AND a.subject_id = i.subject_id AND a.hadm_id = i.hadm_id
  WHERE i.kind = 'icu'
)
SELECT
  n.subject_id,
  n.hadm_id,
  n.stay_id,
  p.sex                                                                                             AS gender,
  CASE WHEN as_mimic_code() OR p.available_time <= n.known_time THEN CAST(p.death_time AS DATE) END AS dod,
  n.admittime,
  n.dischtime,
  date_diff('day', n.admittime, n.dischtime)                                                        AS los_hospital,
  n.admission_age,
  n.admission_race                                                                                  AS race,
  CAST(n.died_in_hospital AS INTEGER)
    AS hospital_expire_flag,
  n.hospstay_seq,
  n.hospstay_seq = 1                                                                                AS first_hosp_stay,
  n.start_time                                                                                      AS start,
  n.end_time                                                                                        AS "end",
  n.known_time                                                                                      AS available_time,
  round(date_diff('hour', n.start_time, n.end_time) / 24, 2)                                        AS los_icu,
  n.icustay_seq,
  n.icustay_seq = 1                                                                                 AS first_icu_stay
FROM numbered AS n
JOIN patients AS p ON p.subject_id = n.subject_id
WHERE n.complete OR as_mimic_code()
