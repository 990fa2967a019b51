-- icu/ingredientevents: ingredients of the inputs (water, calories, ...), one ingredient of one period per row.
-- orderid (source_key) is that of its row in inputevents, linkorderid (link_id) that of its chain of rows.
-- left out: caregiver_id | who charted it, not what happened to the patient
-- rejected: no_code | itemid IS NULL
-- rejected: no_time | starttime IS NULL AND endtime IS NULL

-- [every row] the start, with the rate. A rate of calories may be given per kg (rules/conversions.csv), but the weight is
-- only in the row of the drug in inputevents.
SELECT
  g.subject_id,
  coalesce(g.starttime, g.endtime)   AS time,
  'INGREDIENT_START'                 AS event_type,
  g.itemid                           AS item,
  g.rate                             AS numeric_value,
  g.rateuom                          AS unit,
  g.storetime                        AS available_time,
  'minute'                           AS time_precision,
  g.hadm_id,
  g.stay_id,
  g.orderid                          AS source_key,
  coalesce(g.linkorderid, g.orderid) AS link_id,
  g.originalrate,
  nullif(g.originalamount, 0)        AS originalamount,
  w.patientweight
FROM ingredientevents AS g
LEFT JOIN (
  SELECT subject_id, orderid, rateuom, max(patientweight) AS patientweight
  FROM inputevents
  WHERE rateuom LIKE '%/kg/%' AND patientweight > 1
  GROUP BY subject_id, orderid, rateuom
) AS w USING (subject_id, orderid, rateuom);

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
  statusdescription,
  raised_from(storetime, endtime)                                        AS storetime
FROM ingredientevents
WHERE endtime IS NOT NULL;
