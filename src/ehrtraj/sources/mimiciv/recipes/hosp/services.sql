-- hosp/services: the service that cares for the patient from this time on, one change a row.
-- rejected: no_code | nullif(trim(curr_service), '') IS NULL
-- rejected: no_time | transfertime IS NULL

-- [every row] the service takes over: the one it takes over from qualifies the change and has no time of its own
SELECT
  subject_id,
  transfertime          AS time,
  'SERVICE'             AS event_type,
  name_or_unknown(curr_service)   AS item,
  hadm_id,
  hadm_id               AS link_id,
  prev_service
FROM services;
