-- Each entry of emar once, with its product: rows of emar_detail have neither a time nor a drug of their own.
SELECT
  subject_id,
  emar_seq,
  min(coalesce(charttime, storetime, scheduletime))                              AS time,
  min(storetime)                                                                 AS storetime,
  min(hadm_id)                                                                   AS hadm_id,
  min(pharmacy_id)                                                               AS pharmacy_id,
  min(name_or_unknown(event_txt))                                                AS event_txt,
  min(name_or_unknown(medication))                                               AS medication,
  min(coalesce(order_link(subject_id, poe_id), -pharmacy_id))                    AS link_id,
  min(medication)                                                                AS drug,
  min(CASE WHEN same_drug(product_name, medication) THEN product_ndc END)        AS product,
  min(CASE WHEN same_drug(product_name, medication) THEN product_ingredient END) AS ingredient
FROM emar
LEFT JOIN ordered_products USING (subject_id, pharmacy_id)
GROUP BY subject_id, emar_seq
