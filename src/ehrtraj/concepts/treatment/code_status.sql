-- Code status: what is to be done if the heart stops, as charted in intensive care and as ordered.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/treatment/code_status.sql
-- row: subject_id, hadm_id, stay_id, time, order_id, fullcode, cmo, dni, dnr
-- mimic-code: charttime = time, without order_id
-- columns:
--   subject_id      BIGINT     -  Patient.
--   hadm_id         BIGINT     -  Admission.
--   stay_id         BIGINT     -  ICU stay; null for an order outside of intensive care.
--   time            TIMESTAMP  -  When it was charted or ordered.
--   available_time  TIMESTAMP  -  When it was known.
--   order_id        BIGINT     -  Order; null for a status that was charted.
--   fullcode        INTEGER    -  1 if everything is to be done, otherwise 0.
--   cmo             INTEGER    -  1 if only comfort measures are to be taken, otherwise 0.
--   dni             INTEGER    -  1 if the patient must not be intubated, otherwise 0.
--   dnr             INTEGER    -  1 if the patient must not be resuscitated, otherwise 0.
WITH
meanings AS (
  SELECT
    text,
    CAST(bool_or(meaning = 'full_code') AS INTEGER)        AS fullcode,
    CAST(bool_or(meaning = 'comfort_measures') AS INTEGER) AS cmo,
    CAST(bool_or(meaning = 'dni') AS INTEGER)              AS dni,
    CAST(bool_or(meaning = 'dnr') AS INTEGER)              AS dnr
  FROM concept_texts
  WHERE concept = 'code_status'
  GROUP BY text
),
icu AS (
  SELECT subject_id, hadm_id, stay_id, start_time, end_time, available_time
  FROM stays
  WHERE kind = 'icu'
),
stated AS (
  SELECT subject_id, hadm_id, stay_id, time, available_time, text_value AS text, NULL::BIGINT AS order_id
  FROM vitals
  WHERE event_type = 'CHART' AND concept = 'code_status'
  UNION ALL
  SELECT
    o.subject_id,
    o.hadm_id,
    icu.stay_id,
    o.time,
    greatest(o.available_time, icu.available_time),
    o.detail,
    o.order_id
  FROM order_details AS o
  LEFT JOIN icu
    ON
      icu.subject_id = o.subject_id
      AND icu.hadm_id = o.hadm_id
      AND o.time >= icu.start_time
      AND (o.time <= icu.end_time OR icu.end_time IS NULL)
  WHERE o.field = 'Code status'
)
SELECT
  s.subject_id,
  s.hadm_id,
  s.stay_id,
  s.time,
  s.available_time,
  s.order_id,
  coalesce(m.fullcode, 0) AS fullcode,
  coalesce(m.cmo, 0)      AS cmo,
  coalesce(m.dni, 0)      AS dni,
  coalesce(m.dnr, 0)      AS dnr
FROM stated AS s
LEFT JOIN meanings AS m USING (text)
