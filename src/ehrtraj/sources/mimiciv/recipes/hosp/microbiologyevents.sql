-- hosp/microbiologyevents: one row for a test, for an organism it found, or for an antibiotic tested on that organism.
-- The specimen connects them (link_id). Its isolates differ in test_seq, organism or isolate_num.
-- CANCELLED (90760) and NEGATIVE (90856) are listed as organisms but are not (mc#1677, mc#1261): see is_organism.
-- left out: order_provider_id | who ordered the test, not what happened to the patient
-- rejected: no_time | charttime IS NULL AND chartdate IS NULL

-- [every row] the result: of the antibiotic if there is one, otherwise of the organism, otherwise of the test, with the
-- laboratory's comment (without an organism it is usually 'NO GROWTH', but the comment decides). The dilution is the
-- smallest concentration that inhibits growth, with its comparison operator as an attribute.
SELECT
  m.subject_id,
  coalesce(m.charttime, day_end_in_stay(m.chartdate, a.ended)) AS time,
  'MICRO'                                                      AS event_type,
  CASE
    WHEN m.ab_itemid IS NOT NULL OR m.ab_name IS NOT NULL
      THEN 'ANTIBIOTIC//' || coalesce(CAST(m.ab_itemid AS VARCHAR), m.ab_name)
    WHEN is_organism(m.org_itemid, m.org_name)
      THEN 'ORGANISM//' || coalesce(CAST(m.org_itemid AS VARCHAR), m.org_name)
    ELSE 'TEST//' || coalesce(CAST(m.test_itemid AS VARCHAR), name_or_unknown(m.test_name))
  END                                                          AS item,
  m.dilution_value                                             AS numeric_value,
  CASE
    WHEN m.ab_itemid IS NULL AND m.ab_name IS NULL
      THEN collapse_spaces(m.comments)
    ELSE collapse_spaces(m.interpretation)
  END                                                          AS text_value,
  not_before(
    coalesce(m.storetime, day_end(m.storedate)),
    CASE WHEN m.charttime IS NULL THEN day_end_in_stay(m.chartdate, a.ended) END
  )                                                            AS available_time,
  CASE WHEN m.charttime IS NULL THEN 'day' ELSE 'minute' END   AS time_precision,
  m.hadm_id,
  CASE
    WHEN m.charttime IS NULL AND left_that_day(m.chartdate, a.ended)
      THEN flag('time_at_discharge')
    ELSE 0
  END
  + CASE
    WHEN coalesce(m.org_itemid IN (90760, 90856), false)
      THEN flag('not_an_organism')
    ELSE 0
  END                                                          AS flags,
  m.microevent_id                                              AS source_key,
  m.micro_specimen_id                                          AS link_id,
  coalesce(
    m.ab_name, CASE WHEN is_organism(m.org_itemid, m.org_name) THEN m.org_name END,
    m.test_name
  )                                                            AS code_description,
  CASE m.org_itemid WHEN 90760 THEN 'cancelled' END            AS status,
  m.spec_itemid,
  m.spec_type_desc,
  m.test_itemid,
  m.test_name,
  m.test_seq,
  m.org_itemid,
  m.org_name,
  m.isolate_num,
  collapse_spaces(m.quantity)                                  AS quantity,
  m.dilution_text,
  collapse_spaces(m.dilution_comparison)                       AS dilution_comparison,
  CASE
    WHEN m.ab_itemid IS NOT NULL OR m.ab_name IS NOT NULL
      THEN collapse_spaces(m.comments)
  END                                                          AS comments
FROM microbiologyevents AS m
LEFT JOIN (
  SELECT subject_id, hadm_id, max(stay_end(dischtime, deathtime)) AS ended
  FROM admissions
  GROUP BY subject_id, hadm_id
) AS a USING (subject_id, hadm_id);

-- [also] the organism, once for each isolate that has only rows of antibiotics
SELECT
  m.subject_id,
  coalesce(m.charttime, day_end_in_stay(m.chartdate, a.ended))        AS time,
  'MICRO'                                                             AS event_type,
  'ORGANISM//' || coalesce(CAST(m.org_itemid AS VARCHAR), m.org_name) AS item,
  collapse_spaces(m.comments)                                         AS text_value,
  not_before(
    coalesce(m.storetime, day_end(m.storedate)),
    CASE WHEN m.charttime IS NULL THEN day_end_in_stay(m.chartdate, a.ended) END
  )                                                                   AS available_time,
  CASE WHEN m.charttime IS NULL THEN 'day' ELSE 'minute' END          AS time_precision,
  m.hadm_id,
  CASE
    WHEN m.charttime IS NULL AND left_that_day(m.chartdate, a.ended)
      THEN flag('time_at_discharge')
    ELSE 0
  END                                                                 AS flags,
  m.microevent_id                                                     AS source_key,
  m.micro_specimen_id                                                 AS link_id,
  m.org_name                                                          AS code_description,
  m.spec_itemid,
  m.spec_type_desc,
  m.test_itemid,
  m.test_name,
  m.test_seq,
  m.isolate_num,
  collapse_spaces(m.quantity)                                         AS quantity
FROM microbiologyevents AS m
LEFT JOIN (
  SELECT subject_id, hadm_id, max(stay_end(dischtime, deathtime)) AS ended
  FROM admissions
  GROUP BY subject_id, hadm_id
) AS a USING (subject_id, hadm_id)
WHERE is_organism(m.org_itemid, m.org_name)
WINDOW
  isolate AS (
    PARTITION BY m.subject_id, m.micro_specimen_id, m.test_seq, m.test_itemid, m.org_itemid, m.org_name, m.isolate_num
  )
QUALIFY
  bool_and(m.ab_itemid IS NOT NULL OR m.ab_name IS NOT NULL) OVER isolate
  AND row_number() OVER (isolate ORDER BY m.microevent_id) = 1;

-- [also] the specimen, once: that it was taken is known immediately, before any result
SELECT
  m.subject_id,
  coalesce(m.charttime, day_end_in_stay(m.chartdate, a.ended))                AS time,
  'MICRO_SPECIMEN'                                                            AS event_type,
  coalesce(CAST(m.spec_itemid AS VARCHAR), name_or_unknown(m.spec_type_desc)) AS item,
  CASE WHEN m.charttime IS NULL THEN 'day' ELSE 'minute' END                  AS time_precision,
  m.hadm_id,
  CASE
    WHEN m.charttime IS NULL AND left_that_day(m.chartdate, a.ended)
      THEN flag('time_at_discharge')
    ELSE 0
  END                                                                         AS flags,
  m.micro_specimen_id                                                         AS link_id,
  m.spec_type_desc                                                            AS code_description
FROM microbiologyevents AS m
LEFT JOIN (
  SELECT subject_id, hadm_id, max(stay_end(dischtime, deathtime)) AS ended
  FROM admissions
  GROUP BY subject_id, hadm_id
) AS a USING (subject_id, hadm_id)
WHERE m.micro_specimen_id IS NOT NULL
QUALIFY row_number() OVER (
  PARTITION BY m.subject_id, m.micro_specimen_id
  ORDER BY m.charttime, m.chartdate, m.microevent_id
) = 1;
