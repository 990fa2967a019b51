-- hosp/hcpcsevents: services billed by HCPCS or CPT code, one per row, with a date.
-- They are part of the bill for the stay: available at its end, not on the day of the service. The code identifies the
-- service; the text only describes the code.
-- rejected: no_code | nullif(trim(hcpcs_cd), '') IS NULL
-- rejected: no_time | chartdate IS NULL

-- [every row] a service: seq_num is its order on the bill
SELECT
  h.subject_id,
  day_end_in_stay(h.chartdate, a.ended)                                                     AS time,
  'HCPCS'                                                                                   AS event_type,
  upper(trim(h.hcpcs_cd))                                                                   AS item,
  not_before(a.ended, day_end_in_stay(h.chartdate, a.ended))                                AS available_time,
  'day'                                                                                     AS time_precision,
  h.hadm_id,
  CASE WHEN a.ended IS NOT NULL THEN flag('available_estimated') ELSE 0 END
  + CASE WHEN left_that_day(h.chartdate, a.ended) THEN flag('time_at_discharge') ELSE 0 END AS flags,
  h.hadm_id                                                                                 AS link_id,
  collapse_spaces(h.short_description)                                                      AS code_description,
  h.seq_num
FROM hcpcsevents AS h
LEFT JOIN (
  SELECT subject_id, hadm_id, max(stay_end(dischtime, deathtime)) AS ended
  FROM admissions
  GROUP BY subject_id, hadm_id
) AS a USING (subject_id, hadm_id);
