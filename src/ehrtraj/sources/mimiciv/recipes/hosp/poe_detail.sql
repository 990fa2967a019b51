-- hosp/poe_detail: details of an order (code status, destination of an admission, type of tube), one field per row.
-- left out: poe_id | it is <subject_id>-<poe_seq>, in link_id
-- rejected: no_code | nullif(trim(field_name), '') IS NULL
-- rejected: no_parent | NOT EXISTS (FROM poe AS o WHERE o.subject_id = poe_detail.subject_id AND o.poe_seq = poe_detail.poe_seq AND o.ordertime IS NOT NULL)

-- [every row] the field and its value, at the time of the order. All fields except one contain choices from a list,
-- which are part of the code ('Code status//Do not resuscitate'). The time of a consult is text.
SELECT
  d.subject_id,
  o.ordertime                                                AS time,
  'ORDER_DETAIL'                                             AS event_type,
  name_or_unknown(d.field_name)
  || CASE
    WHEN d.field_name LIKE '%Time' OR d.field_value IS NULL THEN ''
    ELSE '//' || trim(d.field_value)
  END                                                        AS item,
  CASE WHEN d.field_name LIKE '%Time' THEN d.field_value END AS text_value,
  o.hadm_id,
  d.poe_seq                                                  AS source_key,
  order_number(d.subject_id, d.poe_seq)                      AS link_id
FROM poe_detail AS d
LEFT JOIN (
  SELECT subject_id, poe_seq, min(ordertime) AS ordertime, min(hadm_id) AS hadm_id
  FROM poe
  SEMI JOIN poe_detail USING (subject_id, poe_seq)
  GROUP BY subject_id, poe_seq
) AS o USING (subject_id, poe_seq);
