-- Start and end of each stay that rows can refer to: one row per stay, both ends inclusive.
-- kind is the column of an event that refers to it. An admission begins with the arrival in the emergency department.
SELECT
  'hadm_id'                                 AS kind,
  hadm_id                                   AS id,
  min(least(edregtime, admittime, arrived)) AS start,
  max(stay_end(dischtime, deathtime))       AS stop
FROM admissions
LEFT JOIN arrivals USING (subject_id, hadm_id)
WHERE hadm_id IS NOT NULL
GROUP BY hadm_id
UNION ALL
SELECT 'stay_id', stay_id, min(intime), max(outtime)
FROM icustays
WHERE stay_id IS NOT NULL
GROUP BY stay_id
UNION ALL
-- The row of a stay in the emergency department can end when the admission begins, hours before the patient leaves:
-- 447 of 500 vital signs outside such a row are before edouttime (demo 2.2).
SELECT
  'stay_id',
  e.stay_id,
  min(e.intime),
  CASE WHEN count(e.outtime) > 0 THEN greatest(max(e.outtime), max(a.edouttime)) END
FROM ed_stay AS e
LEFT JOIN visits AS v
  ON v.recorded_in = 'hosp/admissions' AND v.subject_id = e.subject_id AND v.end_stay_id = e.stay_id
LEFT JOIN admissions AS a ON a.subject_id = v.subject_id AND a.hadm_id = v.key
WHERE e.stay_id IS NOT NULL
GROUP BY e.subject_id, e.stay_id;
