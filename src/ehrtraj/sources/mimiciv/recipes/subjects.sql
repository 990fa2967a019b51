-- Facts about each patient, one row for each row of patients.
-- death_time: as in hosp/patients.sql. followup_end: MIMIC records deaths outside the hospital until one year after the
-- last discharge (mc#1798): a missing date of death has no meaning after that.
SELECT
  p.subject_id,
  p.gender                                           AS sex,
  TRY(CAST(p.anchor_year - p.anchor_age AS INTEGER)) AS birth_year,
  coalesce(p.anchor_age > 89, false)                 AS age_top_coded,
  coalesce(d.deathtime, d.died_at, day_end(q.dod))   AS death_time,
  d.last_dischtime + INTERVAL 1 YEAR                 AS followup_end
FROM patients AS p
LEFT JOIN (SELECT subject_id, min(dod) AS dod FROM patients GROUP BY subject_id) AS q USING (subject_id)
LEFT JOIN (
  SELECT
    a.subject_id,
    min(a.deathtime) AS deathtime,
    max(death_at_discharge(a.dischtime)) FILTER (
      died_in_hospital(a.deathtime, a.hospital_expire_flag, a.discharge_location)
      AND CAST(a.dischtime AS DATE) = CAST(o.dod AS DATE)
    )                AS died_at,
    max(a.dischtime) AS last_dischtime
  FROM admissions AS a
  LEFT JOIN (SELECT subject_id, min(dod) AS dod FROM patients GROUP BY subject_id) AS o USING (subject_id)
  GROUP BY a.subject_id
) AS d USING (subject_id);
