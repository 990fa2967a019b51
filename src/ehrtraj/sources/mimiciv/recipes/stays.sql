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
SELECT 'stay_id', stay_id, intime, outtime
FROM ed_stay
WHERE stay_id IS NOT NULL;
