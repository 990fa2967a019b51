-- Age at each admission: the years from the year of birth to that of the admission.
--
-- The source gives the age in one year of the shifted calendar, not a date of birth, so an age can be a year too high. It
-- gives 91 for everybody over 89.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/demographics/age.sql
-- row: hadm_id
-- mimic-code: admittime = time
-- columns:
--   subject_id      BIGINT     -  Patient.
--   hadm_id         BIGINT     -  Admission.
--   time            TIMESTAMP  -  When the patient was admitted.
--   available_time  TIMESTAMP  -  When the admission was known.
--   anchor_age      BIGINT     a  Age in the year anchor_year.
--   anchor_year     BIGINT     -  Year of the shifted calendar.
--   age             BIGINT     a  Age at admission.
SELECT
  s.subject_id,
  s.hadm_id,
  s.start_time AS time,
  s.available_time,
  p.anchor_age,
  p.anchor_year,
  s.age
FROM stays AS s
JOIN patients AS p ON p.subject_id = s.subject_id
WHERE s.kind = 'admission'
