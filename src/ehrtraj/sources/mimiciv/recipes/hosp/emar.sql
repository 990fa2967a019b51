-- hosp/emar: entries of the electronic medication administration record, one per row, made at the bedside.
-- The record was introduced from 2011 to 2013: a missing entry before that has no meaning (mc#1069).
-- left out: emar_id | it is <subject_id>-<emar_seq>, in source_key
-- left out: enter_provider_id | who made the entry, not what happened to the patient
-- rejected: no_time | coalesce(charttime, storetime, scheduletime) IS NULL

-- [every row] the entry. The action is the first part of the code: 'Not Given', 'Hold Dose' or 'Flushed' are also
-- entries, but not doses. It was due at scheduletime. The medication of IV fluids is usually not named (1,576 of 35,835
-- rows in the demo). pharmacy_id is kept, as its row can belong to another order than poe_id (3,416 of 28,813).
SELECT
  subject_id,
  coalesce(charttime, storetime, scheduletime)                              AS time,
  'EMAR'                                                                    AS event_type,
  name_or_unknown(event_txt) || '//' || name_or_unknown(medication)         AS item,
  storetime                                                                 AS available_time,
  'minute'                                                                  AS time_precision,
  hadm_id,
  emar_seq                                                                  AS source_key,
  coalesce(order_link(subject_id, poe_id), -pharmacy_id)                    AS link_id,
  nullif(scheduletime, charttime)                                           AS scheduletime,
  pharmacy_id,
  CASE WHEN same_drug(product_name, medication) THEN product_ndc END        AS code_parent,
  medication                                                                AS code_drug,
  CASE WHEN same_drug(product_name, medication) THEN product_ingredient END AS code_ingredient
FROM emar
LEFT JOIN ordered_products USING (subject_id, pharmacy_id);
