-- icu/ingredientevents: ingredients of the inputs (water, calories, ...), one ingredient of one period per row.
-- orderid (source_key) is that of its row in inputevents, linkorderid (link_id) that of its chain of rows.
-- left out: caregiver_id | who charted it, not what happened to the patient
-- rejected: no_code | itemid IS NULL
-- rejected: no_time | starttime IS NULL AND endtime IS NULL

-- [every row] the start, with the rate
SELECT
  subject_id,
  coalesce(starttime, endtime)   AS time,
  'INGREDIENT_START'             AS event_type,
  itemid                         AS item,
  rate                           AS numeric_value,
  rateuom                        AS unit,
  storetime                      AS available_time,
  'minute'                       AS time_precision,
  hadm_id,
  stay_id,
  orderid                        AS source_key,
  coalesce(linkorderid, orderid) AS link_id,
  originalrate,
  nullif(originalamount, 0)      AS originalamount
FROM ingredientevents;

-- [also] the end, with the amount given and the way it ended
SELECT
  subject_id,
  endtime                                                                AS time,
  'INGREDIENT_END'                                                       AS event_type,
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
  statusdescription
FROM ingredientevents
WHERE endtime IS NOT NULL;
