-- Arrival in the emergency department before an admission, from the stay in edstays that names the admission. Until 2.0
-- some admissions lack edregtime. An arrival more than three days before the admission belongs to another visit.
SELECT
  e.subject_id,
  e.hadm_id,
  min(e.intime) AS arrived
FROM ed_stay AS e
JOIN admissions AS a ON a.subject_id = e.subject_id AND a.hadm_id = e.hadm_id
WHERE e.intime BETWEEN a.admittime - INTERVAL 3 DAY AND a.admittime
GROUP BY e.subject_id, e.hadm_id
