-- Macros that the recipes share. The build creates `flag(name)` from rules/flags.csv.
-- The body of a macro is indented, which sqlfluff would undo.
-- noqa: disable=LT02

-- Time ----------------------------------------------------------------------------------------------------------------

-- A date without a time is placed at the end of its day, so that no event is before its cause.
CREATE OR REPLACE MACRO day_end(d) AS
  CAST(d AS DATE) + INTERVAL 86399 SECOND;

-- The end of an admission. For some patients who die, dischtime contains only the date (00:00), but deathtime also the
-- time (demo 2.2: 4 of 15 deaths are after dischtime, all on the same day): the stay then ends with the death.
CREATE OR REPLACE MACRO stay_end(dischtime, deathtime) AS
  CASE
    WHEN dischtime IS NULL THEN deathtime
    WHEN CAST(deathtime AS DATE) = CAST(dischtime AS DATE) THEN greatest(dischtime, deathtime)
    ELSE dischtime
  END;

-- Whether an admission records that the patient died in the hospital (mc#1406: some of them have no deathtime).
CREATE OR REPLACE MACRO died_in_hospital(deathtime, hospital_expire_flag, discharge_location) AS
  coalesce(deathtime IS NOT NULL OR hospital_expire_flag = 1 OR upper(trim(discharge_location)) = 'DIED', false);

-- Whether the date of death in patients does not confirm a death in the hospital: it is another day, or it is missing for
-- a death without deathtime.
CREATE OR REPLACE MACRO death_conflicts(deathtime, dischtime, dod) AS
  CASE
    WHEN dod IS NULL THEN deathtime IS NULL
    ELSE coalesce(CAST(coalesce(deathtime, dischtime) AS DATE) <> CAST(dod AS DATE), true)
  END;

-- The minute of death of a patient who died in the hospital without a deathtime: the discharge. A discharge at 00:00 is a
-- date alone (demo 2.2: 3 of 275 admissions end at 00:00, all three by death, hours before deathtime).
CREATE OR REPLACE MACRO death_at_discharge(dischtime) AS
  CASE WHEN dischtime <> date_trunc('day', dischtime) THEN dischtime END;

-- Whether the stay that a date belongs to ended on that very day.
CREATE OR REPLACE MACRO left_that_day(d, stay_ended) AS
  stay_ended >= CAST(d AS DATE) AND stay_ended < day_end(d);

-- The time of a date within a stay: the end of the day or the end of the stay, whichever is earlier.
CREATE OR REPLACE MACRO day_end_in_stay(d, stay_ended) AS
  CASE WHEN left_that_day(d, stay_ended) THEN stay_ended ELSE day_end(d) END;

-- When an event became known: at `known`, but not before it happened. Null if `known` is not recorded.
CREATE OR REPLACE MACRO not_before(known, happened) AS
  CASE WHEN known < happened THEN happened ELSE known END;

-- The time at which an event became known by its source, if `not_before` raised it. Null otherwise.
CREATE OR REPLACE MACRO raised_from(known, happened) AS
  CASE WHEN known < happened THEN known END;

-- Whether two times differ by a minute or more: smaller differences are rounding.
CREATE OR REPLACE MACRO times_differ(one, other) AS
  coalesce(abs(epoch(one) - epoch(other)) >= 60, false);

-- Whether a row of the emergency department was closed by the admission's own row and not by the departure. Where the time
-- out differs from edouttime, it is 34 to 199 seconds after admittime in 33 of 35 visits of the demo 2.2, with seconds that
-- nothing else has; where it agrees, it is at least 12 minutes after admittime.
CREATE OR REPLACE MACRO closed_by_admission(outtime, admittime) AS
  coalesce(epoch(outtime) - epoch(admittime) BETWEEN 0 AND 300, false);

-- Whether two things began within an hour of each other.
CREATE OR REPLACE MACRO within_the_hour(one, other) AS
  coalesce(abs(epoch(one) - epoch(other)) <= 3600, false);

-- Text ----------------------------------------------------------------------------------------------------------------

-- The source's text, if it contains more than the number next to it. Rows without a number are handled first, because a
-- failing cast is the most expensive (79 instead of 30 ns per row of chartevents).
CREATE OR REPLACE MACRO text_if_informative(value, number) AS
  CASE WHEN number IS NULL THEN value WHEN TRY_CAST(value AS DOUBLE) = number THEN NULL ELSE value END;

-- Text without padding spaces, or null if nothing remains.
CREATE OR REPLACE MACRO collapse_spaces(txt) AS
  CASE
    WHEN txt LIKE '%  %' THEN nullif(trim(regexp_replace(txt, ' {2,}', ' ', 'g')), '')
    ELSE nullif(trim(txt), '')
  END;

-- A name as a part of a code: never null, so that the following parts keep their positions.
CREATE OR REPLACE MACRO name_or_unknown(txt) AS
  coalesce(nullif(trim(txt), ''), 'UNKNOWN');

-- Pain from 0 to 10 in free text: '7', '7.5', '7/10', '7 out of 10'. Null for words, ranges and other numbers.
CREATE OR REPLACE MACRO pain_score(txt) AS
  TRY_CAST(regexp_extract(txt, '^\s*(10(?:\.0+)?|[0-9](?:\.[0-9]+)?)\s*(?:/\s*10|out of 10)?\s*$', 1, 'i') AS DOUBLE);

-- Notes ---------------------------------------------------------------------------------------------------------------

-- note_id is '<subject_id>-<type>-<note_seq>', as 10000032-DS-21: note_seq counts within a type. One number for it, its
-- parts in a row: subject_id, five digits of note_seq, three of the type's letters (DS = 3 * 26 + 18 = 096). Below 2^53 for
-- the eight digits of MIMIC's subject_ids (10000000 to 19999999), since pandas turns integers with nulls into float64.
-- Null for a note_id of another form.
CREATE OR REPLACE MACRO note_number(note_id) AS
  TRY(CASE
    WHEN regexp_full_match(note_id, '[0-8]?[0-9]{1,7}-[A-Z]{2}-[0-9]{1,5}')
      THEN
        CAST(split_part(note_id, '-', 1) AS BIGINT) * 100000000
        + CAST(split_part(note_id, '-', 3) AS BIGINT) * 1000
        + (ascii(split_part(note_id, '-', 2)) - 65) * 26 + ascii(substr(split_part(note_id, '-', 2), 2)) - 65
  END);

-- Orders --------------------------------------------------------------------------------------------------------------

-- poe_id is '<subject_id>-<poe_seq>': one number for it, the same in every table that names the order. Null where a
-- garbled part does not fit: numbers stay below 2^53, as those of notes do.
CREATE OR REPLACE MACRO order_number(subject_id, poe_seq) AS
  CASE
    WHEN subject_id BETWEEN 0 AND 9007199253 AND poe_seq BETWEEN 0 AND 999999
      THEN CAST(subject_id AS BIGINT) * 1000000 + poe_seq
  END;

-- The same number from poe_id. DECIMAL(6, 0) has the limits of poe_seq: order_number would read the text three times,
-- which takes 120 ns longer for each row.
CREATE OR REPLACE MACRO order_link(subject_id, poe_id) AS
  CASE
    WHEN subject_id BETWEEN 0 AND 9007199253
      THEN
        CAST(subject_id AS BIGINT) * 1000000
        + CAST(TRY_CAST(split_part(poe_id, '-', 2) AS DECIMAL(6, 0)) AS BIGINT)
  END;

-- Microbiology --------------------------------------------------------------------------------------------------------

-- Whether a row names an organism. CANCELLED (90760) and NEGATIVE (90856) are outcomes of the test (mc#1261, mc#1677).
CREATE OR REPLACE MACRO is_organism(org_itemid, org_name) AS
  (org_itemid IS NOT NULL OR org_name IS NOT NULL) AND coalesce(org_itemid NOT IN (90760, 90856), true);

-- ICD -----------------------------------------------------------------------------------------------------------------

-- The dotted form of a code: MIMIC stores it without the dot, older versions with spaces around it (mc#337).
CREATE OR REPLACE MACRO dotted(icd_code, before_dot) AS
  CASE
    WHEN length(icd_code) > before_dot THEN left(icd_code, before_dot) || '.' || substr(icd_code, before_dot + 1)
    ELSE icd_code
  END;

CREATE OR REPLACE MACRO bare_icd(icd_code) AS
  upper(replace(trim(icd_code), '.', ''));

-- ICD-9-CM has the dot after three characters, in E codes after four. ICD-10-CM always has it after three.
CREATE OR REPLACE MACRO icd_diagnosis(icd_version, icd_code, separator) AS
  CASE
    WHEN icd_version = 9 AND bare_icd(icd_code) LIKE 'E%' THEN 'ICD9CM' || separator || dotted(bare_icd(icd_code), 4)
    WHEN icd_version = 9 THEN 'ICD9CM' || separator || dotted(bare_icd(icd_code), 3)
    WHEN icd_version = 10 THEN 'ICD10CM' || separator || dotted(bare_icd(icd_code), 3)
    ELSE 'ICD' || separator || bare_icd(icd_code)
  END;

-- ICD-9-CM procedures have the dot after two characters. ICD-10-PCS has none.
CREATE OR REPLACE MACRO icd_procedure(icd_version, icd_code, separator) AS
  CASE
    WHEN icd_version = 9 THEN 'ICD9PROC' || separator || dotted(bare_icd(icd_code), 2)
    WHEN icd_version = 10 THEN 'ICD10PCS' || separator || bare_icd(icd_code)
    ELSE 'ICD' || separator || bare_icd(icd_code)
  END;

-- NDC -----------------------------------------------------------------------------------------------------------------

-- '0', an empty text and a text of zeros mean that there is no code (mc#980).
CREATE OR REPLACE MACRO no_ndc(txt) AS
  txt IS NULL OR txt = '0' OR regexp_full_match(txt, ' *0* *');

-- The code with 11 digits (5-4-2) as text. Parts of a code with hyphens are padded to their length: ten digits are
-- written as 4-4-2, 5-3-2 or 5-4-1. Null for all other texts: ten digits without hyphens could be any of the three
-- (FDA, National Drug Code Directory; 45 CFR 162.1002).
CREATE OR REPLACE MACRO ndc11(txt) AS
  CASE
    WHEN regexp_full_match(trim(txt), '[0-9]{11}') THEN nullif(trim(txt), '00000000000')
    WHEN
      regexp_full_match(trim(txt), '[0-9]{5}-[0-9]{4}-[0-9]{1,2}|[0-9]{5}-[0-9]{3}-[0-9]{2}|[0-9]{4}-[0-9]{4}-[0-9]{2}')
      THEN
        lpad(split_part(trim(txt), '-', 1), 5, '0')
        || lpad(split_part(txt, '-', 2), 4, '0')
        || lpad(split_part(trim(txt), '-', 3), 2, '0')
  END;

-- The NDC of an event: with 11 digits, as written if it is not a valid NDC (flag ndc_invalid), or null.
CREATE OR REPLACE MACRO ndc_or_text(txt) AS
  CASE WHEN no_ndc(txt) THEN NULL ELSE coalesce(ndc11(txt), trim(txt)) END;

CREATE OR REPLACE MACRO ndc_is_invalid(txt) AS
  NOT no_ndc(txt) AND ndc11(txt) IS NULL;

-- Drugs ---------------------------------------------------------------------------------------------------------------

-- A drug's name in lower case, without repeated blanks.
CREATE OR REPLACE MACRO folded_name(txt) AS
  lower(collapse_spaces(txt));

-- The ingredient of a product in the formulary: the first letters of its code, such as 'VAN' of VANC1F and VANC500.
-- Brands have separate codes. If there is no code, it is the clinical formulation, or else the product itself.
CREATE OR REPLACE MACRO formulary_ingredient(formulary_drug_cd, gsn, ndc) AS
  coalesce(
    nullif(regexp_extract(upper(formulary_drug_cd), '^[A-Z]{1,3}'), ''),
    'GSN' || collapse_spaces(gsn),
    ndc11(ndc)
  );

-- Whether two tables name the same drug: the same name, or one begins with the other ('heparin' and 'heparin sodium').
-- Rows that pharmacy_id joins can name different drugs: it joins entries of cephalexin with an order of heparin.
-- Most names are equal: these are compared first, because folding costs most (0.45 against 0.12 s for 337,209 rows).
CREATE OR REPLACE MACRO same_drug(one, other) AS
  CASE
    WHEN one = other THEN true
    WHEN one IS NULL OR other IS NULL THEN false
    ELSE
      starts_with(folded_name(one) || ' ', folded_name(other) || ' ')
      OR starts_with(folded_name(other) || ' ', folded_name(one) || ' ')
  END;
