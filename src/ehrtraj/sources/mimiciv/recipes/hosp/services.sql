-- hosp/services: the service that cares for the patient from this time on, one change per row.
-- rejected: no_code | nullif(trim(curr_service), '') IS NULL
-- rejected: no_time | transfertime IS NULL

-- [every row] the service that takes over: the previous service is an attribute of the change and has no separate time
SELECT
  subject_id,
  transfertime                  AS time,
  'SERVICE'                     AS event_type,
  name_or_unknown(curr_service) AS item,
  hadm_id,
  hadm_id                       AS link_id,
  prev_service
FROM services;
