-- hosp/transfers: one stay in one unit of the hospital per row, with a last row for the departure.
-- hadm_id is null for a visit to the emergency department that did not lead to an admission (MIMIC documentation).
-- rejected: no_time | intime IS NULL

-- [every row] arrival at the care unit: the departure's row has no unit and becomes TRANSFER//DISCHARGE. A row 'ED' is
-- the same visit as in edstays, and has its stay_id
SELECT
  t.subject_id,
  t.intime                                                               AS time,
  'TRANSFER'                                                             AS event_type,
  CASE
    WHEN t.eventtype = 'discharge' THEN 'DISCHARGE'
    ELSE name_or_unknown(t.careunit)
  END                                                                    AS item,
  t.hadm_id,
  v.stay_id,
  CASE WHEN v.same_visit THEN flag('same_visit') ELSE 0 END
  + CASE WHEN v.conflict_at_start THEN flag('visit_conflict') ELSE 0 END AS flags,
  t.transfer_id                                                          AS source_key,
  t.transfer_id                                                          AS link_id,
  t.eventtype
FROM transfers AS t
LEFT JOIN visits AS v ON v.recorded_in = 'hosp/transfers' AND v.subject_id = t.subject_id AND v.key = t.transfer_id;

-- [also] departure from the care unit
SELECT
  t.subject_id,
  t.outtime                                                                                   AS time,
  'TRANSFER_OUT'                                                                              AS event_type,
  name_or_unknown(t.careunit)                                                                 AS item,
  t.hadm_id,
  v.stay_id,
  CASE WHEN t.outtime < t.intime THEN flag('end_before_start') ELSE 0 END
  + CASE WHEN v.same_visit THEN flag('same_visit') ELSE 0 END
  + CASE WHEN v.conflict_at_start OR v.conflict_at_end THEN flag('visit_conflict') ELSE 0 END AS flags,
  t.transfer_id                                                                               AS source_key,
  t.transfer_id                                                                               AS link_id
FROM transfers AS t
LEFT JOIN visits AS v ON v.recorded_in = 'hosp/transfers' AND v.subject_id = t.subject_id AND v.key = t.transfer_id
WHERE t.outtime IS NOT NULL;
