-- Visits to the emergency department. Up to three tables tell of one: ed/edstays, hosp/transfers (its rows 'ED') and
-- hosp/admissions (edregtime, edouttime). A row for each telling: told_by and key say which row it is.
-- In that order one comes before another; stay_id and transfer_id are the rows of edstays and transfers that tell of the
-- same visit. same_visit: whether one that comes before tells of it too. conflict_at_start: whether they disagree about
-- the arrival or the admission, conflict_at_end: about the way out. What is known at the start only at the start: a visit
-- is found by its number, its admission or its beginning, never by its end.
WITH
place AS (
  SELECT subject_id, transfer_id, min(hadm_id) AS hadm_id, min(intime) AS intime, max(outtime) AS outtime
  FROM transfers
  WHERE eventtype = 'ED'
  GROUP BY subject_id, transfer_id
),
registration AS (
  SELECT subject_id, hadm_id, min(edregtime) AS intime, max(edouttime) AS outtime
  FROM admissions
  WHERE edregtime IS NOT NULL
  GROUP BY subject_id, hadm_id
),
-- Of several the best: the same number or admission before the nearest of those that begin within the hour.
place_and_stay AS (
  SELECT DISTINCT ON (p.subject_id, p.transfer_id)
    p.subject_id,
    p.transfer_id,
    s.stay_id,
    times_differ(p.intime, s.intime) OR p.hadm_id IS DISTINCT FROM s.hadm_id AS at_start,
    times_differ(p.outtime, s.outtime) AS at_end
  FROM place AS p
  JOIN ed_stay AS s ON s.subject_id = p.subject_id AND (s.stay_id = p.transfer_id OR within_the_hour(s.intime, p.intime))
  ORDER BY p.subject_id, p.transfer_id, s.stay_id <> p.transfer_id, abs(epoch(s.intime) - epoch(p.intime)), s.stay_id
),
registration_and_stay AS (
  SELECT DISTINCT ON (r.subject_id, r.hadm_id)
    r.subject_id,
    r.hadm_id,
    s.stay_id,
    times_differ(r.intime, s.intime) OR r.hadm_id IS DISTINCT FROM s.hadm_id AS at_start,
    times_differ(r.outtime, s.outtime) AS at_end
  FROM registration AS r
  JOIN ed_stay AS s ON s.subject_id = r.subject_id AND (s.hadm_id = r.hadm_id OR within_the_hour(s.intime, r.intime))
  ORDER BY r.subject_id, r.hadm_id, s.hadm_id IS DISTINCT FROM r.hadm_id, abs(epoch(s.intime) - epoch(r.intime)), s.stay_id
),
registration_and_place AS (
  SELECT DISTINCT ON (r.subject_id, r.hadm_id)
    r.subject_id,
    r.hadm_id,
    p.transfer_id,
    times_differ(r.intime, p.intime) OR r.hadm_id IS DISTINCT FROM p.hadm_id AS at_start,
    times_differ(r.outtime, p.outtime) AS at_end
  FROM registration AS r
  JOIN place AS p ON p.subject_id = r.subject_id AND (p.hadm_id = r.hadm_id OR within_the_hour(p.intime, r.intime))
  ORDER BY r.subject_id, r.hadm_id, p.hadm_id IS DISTINCT FROM r.hadm_id, abs(epoch(p.intime) - epoch(r.intime)),
    p.transfer_id
)
SELECT
  s.subject_id,
  'ed/edstays'        AS told_by,
  s.stay_id           AS key,
  s.stay_id,
  min(p.transfer_id)  AS transfer_id,
  false               AS same_visit,
  coalesce(bool_or(p.at_start), false) OR coalesce(bool_or(r.at_start), false) AS conflict_at_start,
  coalesce(bool_or(p.at_end), false) OR coalesce(bool_or(r.at_end), false)     AS conflict_at_end
FROM ed_stay AS s
LEFT JOIN place_and_stay AS p USING (subject_id, stay_id)
LEFT JOIN registration_and_stay AS r USING (subject_id, stay_id)
GROUP BY s.subject_id, s.stay_id
UNION ALL
SELECT
  p.subject_id,
  'hosp/transfers',
  p.transfer_id,
  min(s.stay_id),
  p.transfer_id,
  count(s.stay_id) > 0,
  coalesce(bool_or(s.at_start), false) OR coalesce(bool_or(r.at_start), false),
  coalesce(bool_or(s.at_end), false) OR coalesce(bool_or(r.at_end), false)
FROM place AS p
LEFT JOIN place_and_stay AS s USING (subject_id, transfer_id)
LEFT JOIN registration_and_place AS r USING (subject_id, transfer_id)
GROUP BY p.subject_id, p.transfer_id
UNION ALL
SELECT
  r.subject_id,
  'hosp/admissions',
  r.hadm_id,
  s.stay_id,
  p.transfer_id,
  s.stay_id IS NOT NULL OR p.transfer_id IS NOT NULL,
  coalesce(s.at_start, false) OR coalesce(p.at_start, false),
  coalesce(s.at_end, false) OR coalesce(p.at_end, false)
FROM registration AS r
LEFT JOIN registration_and_stay AS s USING (subject_id, hadm_id)
LEFT JOIN registration_and_place AS p USING (subject_id, hadm_id)
