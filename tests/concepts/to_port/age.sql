-- Age at admission.
SELECT
  s.subject_id,
  s.hadm_id,
  s.start_time                                     AS admittime,
  CAST(e.attributes ->> '$.anchor_age' AS BIGINT)  AS anchor_age,
  CAST(e.attributes ->> '$.anchor_year' AS BIGINT) AS anchor_year,
  s.age
FROM stays AS s
JOIN events AS e ON e.subject_id = s.subject_id AND e.code = 'MEDS_BIRTH'
WHERE s.kind = 'admission'
