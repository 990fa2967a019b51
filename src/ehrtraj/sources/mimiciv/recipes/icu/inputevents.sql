-- icu/inputevents: what went into the patient (drugs, fluids, feeds), one stretch of constant rate, or one push, a row.
-- Drug and solution of one bag share an orderid (source_key), changes of its rate a linkorderid (link_id): an end belongs
-- to the start of the same item and source_key (no two rows share both, of 20,404 in the demo).
-- left out: caregiver_id | who charted it, not what happened to the patient
-- rejected: no_code | itemid IS NULL
-- rejected: no_time | starttime IS NULL AND endtime IS NULL

-- [every row] the start, with the rate and with what the order and the bag say. A push has no rate and ends a minute
-- later (9,366 of 20,404 rows in the demo), which is no duration (mc#1588). The weight is the one the dose was
-- reckoned with, the same through a stay (mc#1539), so no measurement of that time; 1 kg stands for none
-- (mimic-code, concepts/medication/norepinephrine.sql).
SELECT
  subject_id,
  coalesce(starttime, endtime)              AS time,
  'INPUT_START'                             AS event_type,
  itemid                                    AS item,
  rate                                      AS numeric_value,
  rateuom                                   AS unit,
  storetime                                 AS available_time,
  'minute'                                  AS time_precision,
  hadm_id,
  stay_id,
  orderid                                   AS source_key,
  coalesce(linkorderid, orderid)            AS link_id,
  ordercategoryname,
  secondaryordercategoryname,
  collapse_spaces(ordercomponenttypedescription)   AS ordercomponenttypedescription,
  ordercategorydescription,
  originalrate,
  originalamount,
  totalamount,
  totalamountuom,
  CASE WHEN patientweight > 1 THEN patientweight END AS patientweight,
  CASE WHEN patientweight <= 1 THEN flag('weight_placeholder') ELSE 0 END AS flags,
  nullif(isopenbag, 0)                      AS isopenbag
FROM inputevents;

-- [also] the end, with the amount given and how it ended. Rows are mostly stored before the end (12,867 of 20,404 in
-- the demo): the amount was not known before it all the same.
SELECT
  subject_id,
  endtime                                   AS time,
  'INPUT_END'                               AS event_type,
  itemid                                    AS item,
  amount                                    AS numeric_value,
  amountuom                                 AS unit,
  not_before(storetime, endtime)            AS available_time,
  'minute'                                  AS time_precision,
  hadm_id,
  stay_id,
  CASE WHEN endtime < starttime THEN flag('end_before_start') ELSE 0 END AS flags,
  orderid                                   AS source_key,
  coalesce(linkorderid, orderid)            AS link_id,
  statusdescription,
  nullif(continueinnextdept, 0)             AS continueinnextdept
FROM inputevents
WHERE endtime IS NOT NULL;
