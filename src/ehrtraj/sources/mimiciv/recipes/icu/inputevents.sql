-- icu/inputevents: drugs, fluids and feeds given to the patient, one period of constant rate or one push per row.
-- Drug and solution of one bag share an orderid (source_key), changes of its rate share a linkorderid (link_id). An end
-- belongs to the start of the same item and source_key (of 20,404 rows in the demo, no two share both).
-- left out: caregiver_id | who charted it, not what happened to the patient
-- rejected: no_code | itemid IS NULL
-- rejected: no_time | starttime IS NULL AND endtime IS NULL

-- [every row] the start, with the rate and the details of the order and the bag. A push has no rate and ends a minute
-- later (9,366 of 20,404 rows in the demo), which is not a real duration (mc#1588). The weight is the one used for the
-- dose. It is the same throughout a stay (mc#1539), so it is not a measurement at that time; 1 kg is a placeholder for
-- a missing weight (mimic-code, concepts/medication/norepinephrine.sql).
SELECT
  subject_id,
  coalesce(starttime, endtime)                                            AS time,
  'INPUT_START'                                                           AS event_type,
  itemid                                                                  AS item,
  rate                                                                    AS numeric_value,
  rateuom                                                                 AS unit,
  storetime                                                               AS available_time,
  'minute'                                                                AS time_precision,
  hadm_id,
  stay_id,
  orderid                                                                 AS source_key,
  coalesce(linkorderid, orderid)                                          AS link_id,
  ordercategoryname,
  secondaryordercategoryname,
  collapse_spaces(ordercomponenttypedescription)                          AS ordercomponenttypedescription,
  ordercategorydescription,
  originalrate,
  originalamount,
  totalamount,
  totalamountuom,
  CASE WHEN patientweight > 1 THEN patientweight END                      AS patientweight,
  CASE WHEN patientweight <= 1 THEN flag('weight_placeholder') ELSE 0 END AS flags,
  nullif(isopenbag, 0)                                                    AS isopenbag
FROM inputevents;

-- [also] the end, with the amount given and the way it ended. Most rows are stored before the end (12,867 of 20,404 in
-- the demo), but the amount was not known before the end.
SELECT
  subject_id,
  endtime                                                                AS time,
  'INPUT_END'                                                            AS event_type,
  itemid                                                                 AS item,
  amount                                                                 AS numeric_value,
  amountuom                                                              AS unit,
  not_before(storetime, endtime)                                         AS available_time,
  'minute'                                                               AS time_precision,
  hadm_id,
  stay_id,
  CASE WHEN endtime < starttime THEN flag('end_before_start') ELSE 0 END AS flags,
  orderid                                                                AS source_key,
  coalesce(linkorderid, orderid)                                         AS link_id,
  statusdescription,
  nullif(continueinnextdept, 0)                                          AS continueinnextdept,
  raised_from(storetime, endtime)                                        AS storetime
FROM inputevents
WHERE endtime IS NOT NULL;
