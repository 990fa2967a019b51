-- Stays in intensive care with their admission.
SELECT
  i.subject_id,
  i.hadm_id,
  i.stay_id,
  p.sex                                                               AS gender,
  CAST(p.death_time AS DATE)                                          AS dod,
  a.start_time                                                        AS admittime,
  a.end_time                                                          AS dischtime,
  date_diff('day', a.start_time, a.end_time)                          AS los_hospital,
  a.age                                                               AS admission_age,
  (
    SELECT split_part(e.code, '//', 2) FROM events AS e
    WHERE e.hadm_id = a.hadm_id AND e.code LIKE 'RACE//%' AND e.source_table = 'hosp/admissions'
  )                                                                   AS race,
  CAST(a.died AS BIGINT)                                              AS hospital_expire_flag,
  dense_rank() OVER (PARTITION BY i.subject_id ORDER BY a.start_time) AS hospstay_seq,
  hospstay_seq = 1                                                    AS first_hosp_stay,
  i.start_time                                                        AS icu_intime,
  i.end_time                                                          AS icu_outtime,
  round(date_diff('hour', i.start_time, i.end_time) / 24, 2)          AS los_icu,
  row_number() OVER (PARTITION BY i.hadm_id ORDER BY i.start_time)    AS icustay_seq,
  icustay_seq = 1                                                     AS first_icu_stay
FROM stays AS i
JOIN stays AS a ON a.kind = 'admission' AND a.hadm_id = i.hadm_id
JOIN subjects AS p ON p.subject_id = i.subject_id
WHERE i.kind = 'icu'
