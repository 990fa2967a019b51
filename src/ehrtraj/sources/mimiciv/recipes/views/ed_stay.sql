-- Each stay in the emergency department once, even if edstays contains it several times.
SELECT
  subject_id,
  stay_id,
  min(hadm_id) AS hadm_id,
  min(intime)  AS intime,
  max(outtime) AS outtime
FROM edstays
GROUP BY subject_id, stay_id
