-- When the patient of an admission arrived in the emergency department, by the stay in edstays that names the admission:
-- until 2.0 edregtime lacks in some. Three days may pass between the arrival and the admission: more is another visit.
SELECT
  e.subject_id,
  e.hadm_id,
  min(e.intime) AS arrived
FROM ed_stay AS e
JOIN admissions AS a ON a.subject_id = e.subject_id AND a.hadm_id = e.hadm_id
WHERE e.intime BETWEEN a.admittime - INTERVAL 3 DAY AND a.admittime
GROUP BY e.subject_id, e.hadm_id
