-- Rate of all vasopressors as an equivalent of norepinephrine, rounded to 4 digits.
--
-- Equivalent to 1 ug/kg/min of norepinephrine are 1 of epinephrine, 10 of phenylephrine and 100 of dopamine in ug/kg/min,
-- and 0.4 U/min of vasopressin.
--
-- source: Goradia S et al., J Crit Care 2021, doi:10.1016/j.jcrc.2020.11.002
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/medication/norepinephrine_equivalent_dose.sql
-- needs: vasoactive_agent
-- row: stay_id, start
-- mimic-code: starttime = start, endtime = end, without subject_id
-- columns:
--   subject_id                      BIGINT     -          Patient.
--   stay_id                         BIGINT     -          ICU stay.
--   start                           TIMESTAMP  -          When the interval began.
--   end                             TIMESTAMP  -          When it ended.
--   available_time                  TIMESTAMP  -          When all changes up to its end were known.
--   norepinephrine_equivalent_dose  DOUBLE     ug/kg/min  Equivalent rate of norepinephrine.
SELECT
  v.subject_id,
  v.stay_id,
  v.start,
  v."end",
  v.available_time,
  round(
    CAST(
      coalesce(v.norepinephrine, 0)
      + coalesce(v.epinephrine, 0)
      + coalesce(v.phenylephrine / 10, 0)
      + coalesce(v.dopamine / 100, 0)
      + coalesce(v.vasopressin * 2.5 / 60, 0) AS DECIMAL(38, 9)
    ),
    4
  ) AS norepinephrine_equivalent_dose
FROM vasoactive_agent AS v
WHERE coalesce(v.norepinephrine, v.epinephrine, v.phenylephrine, v.dopamine, v.vasopressin) IS NOT NULL
