-- Suspicion of infection: a systemic antibiotic with a culture in the 72 hours before it or the 24 hours after it.
--
-- A row is an antibiotic. The suspicion begins with the culture if it comes first, otherwise with the antibiotic. A
-- culture whose time of day is not recorded matches by date. A row is complete when all results of the culture are
-- known; `suspected_infection` can be stated days earlier. Several specimens taken at that time count together. With the clock `available`, a row contains the results that
-- were known at the time of the suspicion.
--
-- source: Seymour CW et al., JAMA 2016, doi:10.1001/jama.2016.0288
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/sepsis/suspicion_of_infection.sql
-- needs: suspected_infection
-- row: subject_id, antibiotic, route, time, pharmacy_id
-- mimic-code: antibiotic_time = time, without route, without pharmacy_id
-- differs: Only systemic antibiotics count; they include mupirocin in the nose, oral vancomycin and others.
-- differs: Daptomycin, ertapenem, imipenem, tigecycline and colistin are antibiotics; they lack them.
-- columns:
--   subject_id                BIGINT     -  Patient.
--   stay_id                   BIGINT     -  ICU stay; null if the antibiotic starts outside intensive care.
--   hadm_id                   BIGINT     -  Admission.
--   ab_id                     BIGINT     -  Number of the order among those of antibiotics of the patient, systemic or not.
--   antibiotic                VARCHAR    -  Name as ordered.
--   time                      TIMESTAMP  -  When the order of the antibiotic starts.
--   available_time            TIMESTAMP  -  When the order and all results of the culture were known, or 24 hours passed without one.
--   suspected_infection       INTEGER    -  1 if there is a culture, else 0.
--   suspected_infection_time  TIMESTAMP  -  When the suspicion begins.
--   culture_time              TIMESTAMP  -  When the culture was taken, or the start of that day.
--   specimen                  VARCHAR    -  Specimen of the culture.
--   positive_culture          INTEGER    -  1 if an organism was found in any culture of that time, else 0.
--   route                     VARCHAR    -  Route as ordered.
--   pharmacy_id               BIGINT     -  Order in the pharmacy.
WITH
results AS (
  SELECT
    subject_id,
    specimen_id,
    CASE WHEN date_only THEN date_trunc('day', event_time) ELSE event_time END AS culture_time,
    available_time,
    specimen,
    organism IS NOT NULL                                                       AS is_organism
  FROM cultures
),
specimens_of AS (
  SELECT
    i.subject_id,
    i.ab_id,
    r.specimen_id,
    max(r.available_time)                                    AS available_time,
    max(r.specimen)                                          AS specimen,
    CAST(coalesce(bool_or(r.is_organism), false) AS INTEGER) AS positive
  FROM suspected_infection AS i
  JOIN results AS r ON r.subject_id = i.subject_id AND r.culture_time = i.culture_time
  WHERE clock() <> 'available' OR r.available_time <= i.available_time
  GROUP BY i.subject_id, i.ab_id, r.specimen_id
),
found AS (
  SELECT
    subject_id,
    ab_id,
    max(available_time)                                     AS available_time,
    max(positive)                                           AS positive_culture,
    first(specimen ORDER BY positive DESC, specimen_id ASC) AS specimen
  FROM specimens_of
  GROUP BY subject_id, ab_id
)
SELECT
  i.subject_id,
  i.stay_id,
  i.hadm_id,
  i.ab_id,
  i.antibiotic,
  i.time,
  greatest(i.available_time, r.available_time) AS available_time,
  i.suspected_infection,
  i.suspected_infection_time,
  i.culture_time,
  r.specimen,
  r.positive_culture,
  i.route,
  i.pharmacy_id
FROM suspected_infection AS i
LEFT JOIN found AS r ON r.subject_id = i.subject_id AND r.ab_id = i.ab_id
