-- clinic/visit: one visit per row.
-- rejected: no_time | arrived IS NULL

-- [every row] the arrival
SELECT
  subject_id,
  arrived                   AS time,
  'ARRIVAL'                 AS event_type,
  coalesce(kind, 'UNKNOWN') AS item,
  number_of(visit_id)       AS hadm_id,
  number_of(visit_id)       AS link_id,
  visit_id
FROM visit;

-- [also] the end of the visit
SELECT
  subject_id,
  left_at                      AS time,
  'LEAVING'                    AS event_type,
  coalesce(went_to, 'UNKNOWN') AS item,
  number_of(visit_id)          AS hadm_id,
  number_of(visit_id)          AS link_id
FROM visit
WHERE left_at IS NOT NULL;
