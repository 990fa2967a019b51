-- hosp/procedures_icd: procedures billed for an admission, one per row, with a date.
-- They are done on chartdate, but coded after discharge (MIMIC documentation), and available only then.
-- rejected: no_code | nullif(trim(icd_code), '') IS NULL
-- rejected: no_time | chartdate IS NULL

-- [every row] a procedure: seq_num is its order on the bill
SELECT
  p.subject_id,
  day_end_in_stay(p.chartdate, a.ended)                                                     AS time,
  'PROCEDURE'                                                                               AS event_type,
  icd_procedure(p.icd_version, p.icd_code, '//')                                            AS item,
  not_before(a.ended, day_end_in_stay(p.chartdate, a.ended))                                AS available_time,
  'day'                                                                                     AS time_precision,
  p.hadm_id,
  CASE WHEN a.ended IS NOT NULL THEN flag('available_estimated') ELSE 0 END
  + CASE WHEN left_that_day(p.chartdate, a.ended) THEN flag('time_at_discharge') ELSE 0 END AS flags,
  p.hadm_id                                                                                 AS link_id,
  p.seq_num
FROM procedures_icd AS p
LEFT JOIN (
  SELECT subject_id, hadm_id, max(stay_end(dischtime, deathtime)) AS ended
  FROM admissions
  GROUP BY subject_id, hadm_id
) AS a USING (subject_id, hadm_id);
