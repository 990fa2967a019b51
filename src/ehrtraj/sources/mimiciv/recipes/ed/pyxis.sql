-- ed/pyxis: drugs taken from the dispensing cabinet of the emergency department. The table does not record whether and
-- how much was given. There is one row for each code (gsn_rn) of a drug: rows after the first repeat the drug.
-- rejected: no_time | charttime IS NULL

-- [every row] a dispensed drug. The cabinet has its own clock: some rows are before the arrival (mc#1910)
SELECT
  p.subject_id,
  p.charttime                                                  AS time,
  'DISPENSE'                                                   AS event_type,
  name_or_unknown(p.name)                                      AS item,
  'minute'                                                     AS time_precision,
  e.hadm_id,
  p.stay_id,
  CASE WHEN p.gsn_rn > 1 THEN flag('repeated_drug') ELSE 0 END AS flags,
  p.med_rn                                                     AS source_key,
  p.stay_id                                                    AS link_id,
  p.gsn_rn,
  nullif(p.gsn, '0')                                           AS gsn,
  p.name                                                       AS code_drug
FROM pyxis AS p
LEFT JOIN ed_stay AS e USING (subject_id, stay_id);
