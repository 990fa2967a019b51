-- Settings of continuous renal replacement therapy, at each time at which any was charted.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/treatment/crrt.sql
-- row: stay_id, time
-- mimic-code: charttime = time, without subject_id
-- differs: They keep impossible values; here they are null (flag impossible_value).
-- columns:
--   subject_id                    BIGINT     -          Patient.
--   stay_id                       BIGINT     -          ICU stay.
--   time                          TIMESTAMP  -          When it was charted.
--   available_time                TIMESTAMP  -          When all values of the row were known.
--   crrt_mode                     VARCHAR    -          Mode.
--   access_pressure               DOUBLE     mm[Hg]     Pressure in the access line.
--   blood_flow                    DOUBLE     mL/min     Blood flow.
--   citrate                       DOUBLE     mL/h       Flow of citrate.
--   current_goal                  DOUBLE     mL         Fluid to remove, as set.
--   dialysate_fluid               VARCHAR    -          Dialysate.
--   dialysate_rate                DOUBLE     mL/h       Flow of dialysate.
--   effluent_pressure             DOUBLE     mm[Hg]     Pressure in the effluent line.
--   filter_pressure               DOUBLE     mm[Hg]     Pressure in the filter.
--   heparin_concentration         VARCHAR    -          Concentration of heparin.
--   heparin_dose                  DOUBLE     [USP'U]/h  Dose of heparin.
--   hourly_patient_fluid_removal  DOUBLE     mL         Fluid removed in an hour.
--   prefilter_replacement_rate    DOUBLE     mL/h       Flow of replacement before the filter.
--   postfilter_replacement_rate   DOUBLE     mL/h       Flow of replacement after the filter.
--   replacement_fluid             VARCHAR    -          Replacement fluid.
--   replacement_rate              DOUBLE     mL/h       Flow of replacement.
--   return_pressure               DOUBLE     mm[Hg]     Pressure in the return line.
--   ultrafiltrate_output          DOUBLE     mL         Ultrafiltrate.
--   system_active                 INTEGER    -          1 if the machine was running, 0 if it recirculated or was disconnected.
--   clots                         INTEGER    -          1 if there were clots in the filter, 0 if there were none.
--   clots_increasing              INTEGER    -          1 if the clots increased.
--   clotted                       INTEGER    -          1 if the filter was clotted.
WITH charted AS (
  SELECT
    c.subject_id,
    c.stay_id,
    c.time,
    c.event_time,
    c.available_time,
    c.concept,
    c.text_value,
    CASE WHEN as_mimic_code() AND c.impossible_value THEN decimal_value(c.raw_value) ELSE c.value END AS value,
    t.meaning
  FROM vitals AS c
  LEFT JOIN concept_texts AS t ON t.concept = 'system_integrity' AND c.concept = t.concept AND t.text = c.text_value
  WHERE
    c.event_type = 'CHART'
    AND c.stay_id IS NOT NULL
    AND c.concept IN (
      'system_integrity',
      'crrt_mode',
      'access_pressure',
      'blood_flow',
      'citrate',
      'current_goal',
      'dialysate_fluid',
      'dialysate_rate',
      'effluent_pressure',
      'filter_pressure',
      'heparin_concentration',
      'heparin_dose',
      'hourly_patient_fluid_removal',
      'prefilter_replacement_rate',
      'postfilter_replacement_rate',
      'replacement_fluid',
      'replacement_rate',
      'return_pressure',
      'ultrafiltrate_output'
    )
    AND (c.value IS NOT NULL OR c.text_value IS NOT NULL OR c.impossible_value)
)
SELECT
  subject_id,
  stay_id,
  time,
  max(available_time)                                               AS available_time,
  max(text_value) FILTER (concept = 'crrt_mode')                    AS crrt_mode,
  max(value) FILTER (concept = 'access_pressure')                   AS access_pressure,
  max(value) FILTER (concept = 'blood_flow')                        AS blood_flow,
  max(value) FILTER (concept = 'citrate')                           AS citrate,
  max(value) FILTER (concept = 'current_goal')                      AS current_goal,
  max(text_value) FILTER (concept = 'dialysate_fluid')              AS dialysate_fluid,
  max(value) FILTER (concept = 'dialysate_rate')                    AS dialysate_rate,
  max(value) FILTER (concept = 'effluent_pressure')                 AS effluent_pressure,
  max(value) FILTER (concept = 'filter_pressure')                   AS filter_pressure,
  max(text_value) FILTER (concept = 'heparin_concentration')        AS heparin_concentration,
  max(value) FILTER (concept = 'heparin_dose')                      AS heparin_dose,
  max(value) FILTER (concept = 'hourly_patient_fluid_removal')      AS hourly_patient_fluid_removal,
  max(value) FILTER (concept = 'prefilter_replacement_rate')        AS prefilter_replacement_rate,
  max(value) FILTER (concept = 'postfilter_replacement_rate')       AS postfilter_replacement_rate,
  max(text_value) FILTER (concept = 'replacement_fluid')            AS replacement_fluid,
  max(value) FILTER (concept = 'replacement_rate')                  AS replacement_rate,
  max(value) FILTER (concept = 'return_pressure')                   AS return_pressure,
  max(value) FILTER (concept = 'ultrafiltrate_output')              AS ultrafiltrate_output,
  max(CASE meaning WHEN 'active' THEN 1 WHEN 'inactive' THEN 0 END) AS system_active,
  max(CASE meaning WHEN 'clots' THEN 1 WHEN 'no_clots' THEN 0 END)  AS clots,
  max(1) FILTER (meaning = 'clots_increasing')                      AS clots_increasing,
  max(1) FILTER (meaning = 'clotted')                               AS clotted
FROM charted
GROUP BY subject_id, stay_id, event_time, time
