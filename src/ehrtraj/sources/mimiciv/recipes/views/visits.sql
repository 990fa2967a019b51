-- Visits to the emergency department. Up to three tables record one: ed/edstays, hosp/transfers (its rows 'ED') and
-- hosp/admissions (edregtime, edouttime). One row per record: recorded_in and key name the record.
-- Tables earlier in that list come first: same_visit is true where an earlier table records the visit too.
-- stay_id and transfer_id are the rows of edstays and transfers that record the same arrival, end_stay_id and
-- end_transfer_id those that record the same way out. They differ where one admission follows several stays: the
-- registration is that of the nearest arrival, edouttime that of the last stay (mc#1338: 600 such admissions).
-- conflict_at_start: the tables disagree on the arrival or the admission; conflict_at_end: on the way out.
-- A visit is matched by what is known when it begins: its number, its admission or its arrival.
WITH
place AS (
  SELECT subject_id, transfer_id, min(hadm_id) AS hadm_id, min(intime) AS intime, max(outtime) AS outtime
  FROM transfers
  WHERE eventtype = 'ED'
  GROUP BY subject_id, transfer_id
),
registration AS (
  SELECT
    subject_id,
    hadm_id,
    min(edregtime) AS intime,
    max(edouttime) AS outtime,
    min(admittime) AS admittime
  FROM admissions
  WHERE edregtime IS NOT NULL
  GROUP BY subject_id, hadm_id
),
-- Of several matches the best: the same number or admission comes before the nearest arrival within an hour.
place_and_stay AS (
  SELECT DISTINCT ON (p.subject_id, p.transfer_id)
    p.subject_id,
    p.transfer_id,
    s.stay_id,
    times_differ(p.intime, s.intime) OR (p.hadm_id IS DISTINCT FROM s.hadm_id) AS at_start,
    times_differ(p.outtime, s.outtime)                                         AS at_end
  FROM place AS p
  JOIN
    ed_stay AS s
    ON s.subject_id = p.subject_id AND (s.stay_id = p.transfer_id OR within_the_hour(s.intime, p.intime))
  ORDER BY p.subject_id, p.transfer_id, s.stay_id <> p.transfer_id, abs(epoch(s.intime) - epoch(p.intime)), s.stay_id
),
registration_and_stays AS (
  SELECT
    r.subject_id,
    r.hadm_id,
    s.stay_id,
    (r.hadm_id IS DISTINCT FROM s.hadm_id)                                                 AS other_admission,
    abs(epoch(s.intime) - epoch(r.intime))                                                 AS apart,
    s.outtime,
    times_differ(r.intime, s.intime) OR (r.hadm_id IS DISTINCT FROM s.hadm_id)             AS at_start,
    times_differ(r.outtime, s.outtime) AND NOT closed_by_admission(s.outtime, r.admittime) AS at_end
  FROM registration AS r
  JOIN ed_stay AS s ON s.subject_id = r.subject_id AND (s.hadm_id = r.hadm_id OR within_the_hour(s.intime, r.intime))
),
registration_and_stay AS (
  SELECT DISTINCT ON (subject_id, hadm_id) subject_id, hadm_id, stay_id, at_start
  FROM registration_and_stays
  ORDER BY subject_id, hadm_id, other_admission, apart, stay_id
),
registration_and_last_stay AS (
  SELECT DISTINCT ON (subject_id, hadm_id) subject_id, hadm_id, stay_id, at_end
  FROM registration_and_stays
  ORDER BY subject_id ASC, hadm_id ASC, other_admission ASC, outtime DESC NULLS LAST, stay_id ASC
),
registration_and_places AS (
  SELECT
    r.subject_id,
    r.hadm_id,
    p.transfer_id,
    (r.hadm_id IS DISTINCT FROM p.hadm_id)                                                 AS other_admission,
    abs(epoch(p.intime) - epoch(r.intime))                                                 AS apart,
    p.outtime,
    times_differ(r.intime, p.intime) OR (r.hadm_id IS DISTINCT FROM p.hadm_id)             AS at_start,
    times_differ(r.outtime, p.outtime) AND NOT closed_by_admission(p.outtime, r.admittime) AS at_end
  FROM registration AS r
  JOIN place AS p ON p.subject_id = r.subject_id AND (p.hadm_id = r.hadm_id OR within_the_hour(p.intime, r.intime))
),
registration_and_place AS (
  SELECT DISTINCT ON (subject_id, hadm_id) subject_id, hadm_id, transfer_id, at_start
  FROM registration_and_places
  ORDER BY subject_id, hadm_id, other_admission, apart, transfer_id
),
registration_and_last_place AS (
  SELECT DISTINCT ON (subject_id, hadm_id) subject_id, hadm_id, transfer_id, at_end
  FROM registration_and_places
  ORDER BY subject_id ASC, hadm_id ASC, other_admission ASC, outtime DESC NULLS LAST, transfer_id ASC
)
SELECT
  s.subject_id,
  'ed/edstays'                                                                 AS recorded_in,
  s.stay_id                                                                    AS key,
  s.stay_id,
  min(p.transfer_id)                                                           AS transfer_id,
  s.stay_id                                                                    AS end_stay_id,
  min(p.transfer_id)                                                           AS end_transfer_id,
  false                                                                        AS same_visit,
  coalesce(bool_or(p.at_start), false) OR coalesce(bool_or(r.at_start), false) AS conflict_at_start,
  coalesce(bool_or(p.at_end), false) OR coalesce(bool_or(o.at_end), false)     AS conflict_at_end
FROM ed_stay AS s
LEFT JOIN place_and_stay AS p USING (subject_id, stay_id)
LEFT JOIN registration_and_stay AS r USING (subject_id, stay_id)
LEFT JOIN registration_and_last_stay AS o USING (subject_id, stay_id)
GROUP BY s.subject_id, s.stay_id
UNION ALL
SELECT
  p.subject_id,
  'hosp/transfers',
  p.transfer_id  AS key,
  min(s.stay_id),
  p.transfer_id,
  min(s.stay_id) AS end_stay_id,
  p.transfer_id  AS end_transfer_id,
  count(s.stay_id) > 0,
  coalesce(bool_or(s.at_start), false) OR coalesce(bool_or(r.at_start), false),
  coalesce(bool_or(s.at_end), false) OR coalesce(bool_or(o.at_end), false)
FROM place AS p
LEFT JOIN place_and_stay AS s USING (subject_id, transfer_id)
LEFT JOIN registration_and_place AS r USING (subject_id, transfer_id)
LEFT JOIN registration_and_last_place AS o USING (subject_id, transfer_id)
GROUP BY p.subject_id, p.transfer_id
UNION ALL
SELECT
  r.subject_id,
  'hosp/admissions',
  r.hadm_id,
  s.stay_id,
  p.transfer_id,
  last_stay.stay_id      AS end_stay_id,
  last_place.transfer_id AS end_transfer_id,
  s.stay_id IS NOT NULL OR p.transfer_id IS NOT NULL,
  coalesce(s.at_start, false) OR coalesce(p.at_start, false),
  coalesce(last_stay.at_end, false) OR coalesce(last_place.at_end, false)
FROM registration AS r
LEFT JOIN registration_and_stay AS s USING (subject_id, hadm_id)
LEFT JOIN registration_and_last_stay AS last_stay USING (subject_id, hadm_id)
LEFT JOIN registration_and_place AS p USING (subject_id, hadm_id)
LEFT JOIN registration_and_last_place AS last_place USING (subject_id, hadm_id)
