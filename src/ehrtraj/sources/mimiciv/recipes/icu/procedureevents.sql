-- icu/procedureevents: procedures, lines, ventilation and imaging as charted in intensive care, one per row.
-- left out: caregiver_id | who charted it, not what happened to the patient
-- rejected: no_code | itemid IS NULL
-- rejected: no_time | starttime IS NULL AND endtime IS NULL

-- [every row] the start
SELECT
  subject_id,
  coalesce(starttime, endtime)   AS time,
  'ICU_PROCEDURE_START'          AS event_type,
  itemid                         AS item,
  storetime                      AS available_time,
  'minute'                       AS time_precision,
  hadm_id,
  stay_id,
  orderid                        AS source_key,
  coalesce(linkorderid, orderid) AS link_id,
  location,
  locationcategory,
  ordercategoryname,
  ordercategorydescription,
  patientweight
FROM procedureevents;

-- [also] the end, with the duration. A procedure at a single time (a 'Task') ends a minute later with the value 1 and
-- no unit. Planned values are on this event too: usually they only repeat the actual ones.
SELECT
  subject_id,
  endtime                                                                AS time,
  'ICU_PROCEDURE_END'                                                    AS event_type,
  itemid                                                                 AS item,
  value                                                                  AS numeric_value,
  nullif(valueuom, 'None')                                               AS unit,
  not_before(storetime, endtime)                                         AS available_time,
  'minute'                                                               AS time_precision,
  hadm_id,
  stay_id,
  CASE WHEN endtime < starttime THEN flag('end_before_start') ELSE 0 END AS flags,
  orderid                                                                AS source_key,
  coalesce(linkorderid, orderid)                                         AS link_id,
  statusdescription,
  originalamount,
  originalrate,
  nullif(isopenbag, 0)                                                   AS isopenbag,
  nullif(continueinnextdept, 0)                                          AS continueinnextdept,
  raised_from(storetime, endtime)                                        AS storetime
FROM procedureevents
WHERE endtime IS NOT NULL;
