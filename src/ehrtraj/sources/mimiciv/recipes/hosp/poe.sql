-- hosp/poe: orders of the providers, one transaction per row: a new order, a change, a discontinuation ('D/C').
-- left out: poe_id | it is <subject_id>-<poe_seq>, in link_id
-- left out: discontinued_by_poe_id | known only later: the later order contains it in discontinue_of_poe_id
-- left out: order_provider_id | who ordered, not what happened to the patient
-- rejected: no_time | ordertime IS NULL

-- [every row] the transaction: its type is the first part, so that a discontinuation is never confused with an order.
SELECT
  subject_id,
  ordertime                                                                 AS time,
  'ORDER'                                                                   AS event_type,
  name_or_unknown(transaction_type) || '//' || name_or_unknown(order_type)
  || CASE WHEN order_subtype IS NULL THEN '' ELSE '//' || order_subtype END AS item,
  hadm_id,
  poe_seq                                                                   AS source_key,
  order_number(subject_id, poe_seq)                                         AS link_id,
  discontinue_of_poe_id
FROM poe;

-- [also] the status when the data were extracted, so that it is at the end of the patient's last admission. 'Inactive' has
-- no event: it is the status of all 45,154 orders of the demo.
SELECT
  o.subject_id,
  greatest(o.ordertime, a.last_end)     AS time,
  'ORDER_STATUS'                        AS event_type,
  name_or_unknown(o.order_status)       AS item,
  o.hadm_id,
  flag('available_estimated')           AS flags,
  o.poe_seq                             AS source_key,
  order_number(o.subject_id, o.poe_seq) AS link_id
FROM poe AS o
LEFT JOIN (
  SELECT subject_id, max(stay_end(dischtime, deathtime)) AS last_end FROM admissions GROUP BY subject_id
) AS a USING (subject_id)
WHERE trim(o.order_status) <> 'Inactive';
