-- hosp/transfers: one stay in one place of the hospital a row, with a last row for the departure.
-- hadm_id is null for a visit to the emergency department that led to no admission (MIMIC documentation).
-- set aside: no_time | intime IS NULL

-- [every row] arrival at the care unit: the row of the departure has none and is TRANSFER//DISCHARGE
SELECT
  subject_id,
  intime            AS time,
  'TRANSFER'        AS domain,
  CASE WHEN eventtype = 'discharge' THEN 'DISCHARGE'
       ELSE named(careunit) END AS item,
  hadm_id,
  transfer_id       AS source_key,
  transfer_id       AS link_id,
  eventtype
FROM transfers;

-- [also] leaving the care unit
SELECT
  subject_id,
  outtime           AS time,
  'TRANSFER_OUT'    AS domain,
  named(careunit)   AS item,
  hadm_id,
  CASE WHEN outtime < intime THEN flag('end_before_start') ELSE 0 END AS flags,
  transfer_id       AS source_key,
  transfer_id       AS link_id
FROM transfers
WHERE outtime IS NOT NULL;
