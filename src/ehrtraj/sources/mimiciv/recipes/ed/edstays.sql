-- ed/edstays: one stay in the emergency department per row. A row becomes several events, each with only what was known
-- at its time. hadm_id is null if the visit did not lead to an admission (MIMIC documentation).
-- rejected: no_time | intime IS NULL

-- [every row] the arrival, by means of arrival
SELECT
  e.subject_id,
  e.intime                                                             AS time,
  'ED_ARRIVAL'                                                         AS event_type,
  name_or_unknown(e.arrival_transport)                                 AS item,
  e.hadm_id,
  e.stay_id,
  CASE WHEN v.conflict_at_start THEN flag('visit_conflict') ELSE 0 END AS flags,
  e.stay_id                                                            AS source_key,
  e.stay_id                                                            AS link_id,
  e.gender
FROM edstays AS e
LEFT JOIN visits AS v ON v.recorded_in = 'ed/edstays' AND v.subject_id = e.subject_id AND v.key = e.stay_id;

-- [also] race as recorded in the emergency department; a following admission records it again
SELECT
  e.subject_id,
  e.intime                                                           AS time,
  'RACE'                                                             AS event_type,
  e.race                                                             AS item,
  e.hadm_id,
  e.stay_id,
  CASE WHEN a.hadm_id IS NOT NULL THEN flag('same_visit') ELSE 0 END AS flags,
  e.stay_id                                                          AS source_key,
  e.stay_id                                                          AS link_id
FROM edstays AS e
LEFT JOIN (SELECT DISTINCT subject_id, hadm_id FROM admissions WHERE race IS NOT NULL) AS a
  ON a.subject_id = e.subject_id AND a.hadm_id = e.hadm_id
WHERE nullif(trim(e.race), '') IS NOT NULL;

-- [also] the departure, by destination
SELECT
  e.subject_id,
  e.outtime                                                                                   AS time,
  'ED_DEPARTURE'                                                                              AS event_type,
  name_or_unknown(e.disposition)                                                              AS item,
  e.hadm_id,
  e.stay_id,
  CASE WHEN e.outtime < e.intime THEN flag('end_before_start') ELSE 0 END
  + CASE WHEN v.conflict_at_start OR v.conflict_at_end THEN flag('visit_conflict') ELSE 0 END AS flags,
  e.stay_id                                                                                   AS source_key,
  e.stay_id                                                                                   AS link_id
FROM edstays AS e
LEFT JOIN visits AS v ON v.recorded_in = 'ed/edstays' AND v.subject_id = e.subject_id AND v.key = e.stay_id
WHERE e.outtime IS NOT NULL;
