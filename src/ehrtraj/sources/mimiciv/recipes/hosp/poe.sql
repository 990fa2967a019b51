-- hosp/poe: orders of the providers, one transaction per row: a new order, a change, a discontinuation ('D/C').
-- left out: poe_id | it is <subject_id>-<poe_seq>, in link_id
-- left out: discontinued_by_poe_id | known only later: the later order contains it in discontinue_of_poe_id
-- left out: order_provider_id | who ordered, not what happened to the patient
-- rejected: no_time | ordertime IS NULL

-- [every row] the transaction: its type is the first part, so that a discontinuation is never confused with an order.
-- order_status is the state when the data were extracted, not when the order was made: it is no input of a prediction.
SELECT
  subject_id,
  ordertime                                                                 AS time,
  'ORDER'                                                                   AS event_type,
  name_or_unknown(transaction_type) || '//' || name_or_unknown(order_type)
  || CASE WHEN order_subtype IS NULL THEN '' ELSE '//' || order_subtype END AS item,
  hadm_id,
  poe_seq                                                                   AS source_key,
  order_number(subject_id, poe_seq)                                         AS link_id,
  discontinue_of_poe_id,
  order_status
FROM poe;
