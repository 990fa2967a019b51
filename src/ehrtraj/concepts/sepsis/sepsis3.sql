-- Onset of sepsis by the Sepsis-3 definition in each stay in intensive care: the first suspicion of infection with a SOFA
-- of 2 or more in the 48 hours before it or the 24 hours after it.
--
-- The SOFA before the stay is assumed to be 0. `available_time` is when sepsis could first be stated. With the clock
-- `available`, a row is the onset that could be stated first.
--
-- source: Singer M et al. JAMA 2016;315:801-810, doi:10.1001/jama.2016.0287
-- source: Seymour CW et al. JAMA 2016;315:762-774, doi:10.1001/jama.2016.0288
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/sepsis/sepsis3.sql
-- needs: suspected_infection, sofa
-- row: stay_id
-- mimic-code: suspected_infection_time = time
-- differs: SOFA and suspicion of infection differ from theirs (see there).
-- columns:
--   subject_id       BIGINT     -        Patient.
--   stay_id          BIGINT     -        ICU stay.
--   antibiotic_time  TIMESTAMP  -        When the antibiotic starts.
--   culture_time     TIMESTAMP  -        When the culture was taken.
--   time             TIMESTAMP  -        Onset: when the suspicion of infection begins.
--   available_time   TIMESTAMP  -        When the suspicion and the SOFA were known.
--   sofa_time        TIMESTAMP  -        End of the first hour of the window with a SOFA of 2 or more.
--   sofa_score       INTEGER    {score}  SOFA at that time.
--   respiration      INTEGER    {score}  Its points for oxygenation.
--   coagulation      INTEGER    {score}  Its points for platelets.
--   liver            INTEGER    {score}  Its points for bilirubin.
--   cardiovascular   INTEGER    {score}  Its points for blood pressure and drugs.
--   cns              INTEGER    {score}  Its points for the Glasgow Coma Scale.
--   renal            INTEGER    {score}  Its points for creatinine and urine.
--   sepsis3          BOOLEAN    -        True.
SELECT
  i.subject_id,
  i.stay_id,
  i.time                                       AS antibiotic_time,
  i.culture_time,
  i.suspected_infection_time                   AS time,
  greatest(i.available_time, s.available_time) AS available_time,
  s.time                                       AS sofa_time,
  s.sofa_24hours                               AS sofa_score,
  s.respiration_24hours                        AS respiration,
  s.coagulation_24hours                        AS coagulation,
  s.liver_24hours                              AS liver,
  s.cardiovascular_24hours                     AS cardiovascular,
  s.cns_24hours                                AS cns,
  s.renal_24hours                              AS renal,
  true                                         AS sepsis3
FROM suspected_infection AS i
JOIN sofa AS s
  ON
    s.stay_id = i.stay_id
    AND s.time >= i.suspected_infection_time - INTERVAL 48 HOURS
    AND s.time <= i.suspected_infection_time + INTERVAL 24 HOURS
WHERE i.suspected_infection = 1 AND sepsis3_sofa_points(s.sofa_24hours) = 1
QUALIFY row_number() OVER (
  PARTITION BY i.stay_id
  ORDER BY
    CASE WHEN clock() = 'available' THEN greatest(i.available_time, s.available_time) END,
    i.suspected_infection_time,
    i.time,
    i.culture_time NULLS FIRST,
    s.time,
    i.ab_id
) = 1
