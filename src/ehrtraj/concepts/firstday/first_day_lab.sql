-- Laboratory results of the first day of an ICU stay, from six hours before its start.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/firstday/first_day_lab.sql
-- needs: chemistry, blood_differential, complete_blood_count, coagulation, enzyme
-- row: stay_id
-- mimic-code: without start, without end
-- differs: They use one item of white blood cells; complete_blood_count uses all of them.
-- columns:
--   subject_id              BIGINT     -        Patient.
--   stay_id                 BIGINT     -        ICU stay.
--   start                   TIMESTAMP  -        Start of the stay.
--   end                     TIMESTAMP  -        24 hours after the start of the stay.
--   available_time          TIMESTAMP  -        When the first day was over and all its values were known.
--   hematocrit_min          DOUBLE     %        Lowest hematocrit.
--   hematocrit_max          DOUBLE     %        Highest hematocrit.
--   hemoglobin_min          DOUBLE     g/dL     Lowest hemoglobin.
--   hemoglobin_max          DOUBLE     g/dL     Highest hemoglobin.
--   platelets_min           DOUBLE     10*3/uL  Lowest platelets.
--   platelets_max           DOUBLE     10*3/uL  Highest platelets.
--   wbc_min                 DOUBLE     10*3/uL  Lowest white blood cells.
--   wbc_max                 DOUBLE     10*3/uL  Highest white blood cells.
--   albumin_min             DOUBLE     g/dL     Lowest albumin.
--   albumin_max             DOUBLE     g/dL     Highest albumin.
--   globulin_min            DOUBLE     g/dL     Lowest globulin.
--   globulin_max            DOUBLE     g/dL     Highest globulin.
--   total_protein_min       DOUBLE     g/dL     Lowest total protein.
--   total_protein_max       DOUBLE     g/dL     Highest total protein.
--   aniongap_min            DOUBLE     mmol/L   Lowest anion gap.
--   aniongap_max            DOUBLE     mmol/L   Highest anion gap.
--   bicarbonate_min         DOUBLE     mmol/L   Lowest bicarbonate.
--   bicarbonate_max         DOUBLE     mmol/L   Highest bicarbonate.
--   bun_min                 DOUBLE     mg/dL    Lowest blood urea nitrogen.
--   bun_max                 DOUBLE     mg/dL    Highest blood urea nitrogen.
--   calcium_min             DOUBLE     mg/dL    Lowest total calcium.
--   calcium_max             DOUBLE     mg/dL    Highest total calcium.
--   chloride_min            DOUBLE     mmol/L   Lowest chloride.
--   chloride_max            DOUBLE     mmol/L   Highest chloride.
--   creatinine_min          DOUBLE     mg/dL    Lowest creatinine.
--   creatinine_max          DOUBLE     mg/dL    Highest creatinine.
--   glucose_min             DOUBLE     mg/dL    Lowest glucose.
--   glucose_max             DOUBLE     mg/dL    Highest glucose.
--   sodium_min              DOUBLE     mmol/L   Lowest sodium.
--   sodium_max              DOUBLE     mmol/L   Highest sodium.
--   potassium_min           DOUBLE     mmol/L   Lowest potassium.
--   potassium_max           DOUBLE     mmol/L   Highest potassium.
--   abs_basophils_min       DOUBLE     10*3/uL  Lowest basophils, count.
--   abs_basophils_max       DOUBLE     10*3/uL  Highest basophils, count.
--   abs_eosinophils_min     DOUBLE     10*3/uL  Lowest eosinophils, count.
--   abs_eosinophils_max     DOUBLE     10*3/uL  Highest eosinophils, count.
--   abs_lymphocytes_min     DOUBLE     10*3/uL  Lowest lymphocytes, count.
--   abs_lymphocytes_max     DOUBLE     10*3/uL  Highest lymphocytes, count.
--   abs_monocytes_min       DOUBLE     10*3/uL  Lowest monocytes, count.
--   abs_monocytes_max       DOUBLE     10*3/uL  Highest monocytes, count.
--   abs_neutrophils_min     DOUBLE     10*3/uL  Lowest neutrophils, count.
--   abs_neutrophils_max     DOUBLE     10*3/uL  Highest neutrophils, count.
--   atyps_min               DOUBLE     %        Lowest atypical lymphocytes.
--   atyps_max               DOUBLE     %        Highest atypical lymphocytes.
--   bands_min               DOUBLE     %        Lowest band neutrophils.
--   bands_max               DOUBLE     %        Highest band neutrophils.
--   imm_granulocytes_min    DOUBLE     %        Lowest immature granulocytes.
--   imm_granulocytes_max    DOUBLE     %        Highest immature granulocytes.
--   metas_min               DOUBLE     %        Lowest metamyelocytes.
--   metas_max               DOUBLE     %        Highest metamyelocytes.
--   nrbc_min                DOUBLE     %        Lowest nucleated red blood cells per 100 white blood cells.
--   nrbc_max                DOUBLE     %        Highest nucleated red blood cells per 100 white blood cells.
--   d_dimer_min             DOUBLE     ng/mL    Lowest D-dimer.
--   d_dimer_max             DOUBLE     ng/mL    Highest D-dimer.
--   fibrinogen_min          DOUBLE     mg/dL    Lowest fibrinogen.
--   fibrinogen_max          DOUBLE     mg/dL    Highest fibrinogen.
--   thrombin_min            DOUBLE     s        Lowest thrombin time.
--   thrombin_max            DOUBLE     s        Highest thrombin time.
--   inr_min                 DOUBLE     {INR}    Lowest international normalized ratio.
--   inr_max                 DOUBLE     {INR}    Highest international normalized ratio.
--   pt_min                  DOUBLE     s        Lowest prothrombin time.
--   pt_max                  DOUBLE     s        Highest prothrombin time.
--   ptt_min                 DOUBLE     s        Lowest partial thromboplastin time.
--   ptt_max                 DOUBLE     s        Highest partial thromboplastin time.
--   alt_min                 DOUBLE     U/L      Lowest alanine aminotransferase.
--   alt_max                 DOUBLE     U/L      Highest alanine aminotransferase.
--   alp_min                 DOUBLE     U/L      Lowest alkaline phosphatase.
--   alp_max                 DOUBLE     U/L      Highest alkaline phosphatase.
--   ast_min                 DOUBLE     U/L      Lowest aspartate aminotransferase.
--   ast_max                 DOUBLE     U/L      Highest aspartate aminotransferase.
--   amylase_min             DOUBLE     U/L      Lowest amylase.
--   amylase_max             DOUBLE     U/L      Highest amylase.
--   bilirubin_total_min     DOUBLE     mg/dL    Lowest total bilirubin.
--   bilirubin_total_max     DOUBLE     mg/dL    Highest total bilirubin.
--   bilirubin_direct_min    DOUBLE     mg/dL    Lowest direct bilirubin.
--   bilirubin_direct_max    DOUBLE     mg/dL    Highest direct bilirubin.
--   bilirubin_indirect_min  DOUBLE     mg/dL    Lowest indirect bilirubin.
--   bilirubin_indirect_max  DOUBLE     mg/dL    Highest indirect bilirubin.
--   ck_cpk_min              DOUBLE     U/L      Lowest creatine kinase.
--   ck_cpk_max              DOUBLE     U/L      Highest creatine kinase.
--   ck_mb_min               DOUBLE     ng/mL    Lowest creatine kinase, isoenzyme MB.
--   ck_mb_max               DOUBLE     ng/mL    Highest creatine kinase, isoenzyme MB.
--   ggt_min                 DOUBLE     U/L      Lowest gamma-glutamyltransferase.
--   ggt_max                 DOUBLE     U/L      Highest gamma-glutamyltransferase.
--   ld_ldh_min              DOUBLE     U/L      Lowest lactate dehydrogenase.
--   ld_ldh_max              DOUBLE     U/L      Highest lactate dehydrogenase.
WITH
days AS (
  SELECT subject_id, stay_id, start_time, start_time + INTERVAL 24 HOURS AS end_time, available_time
  FROM stays
  WHERE kind = 'icu'
),
results AS (
  FROM complete_blood_count
  UNION ALL BY NAME
  FROM chemistry
  UNION ALL BY NAME
  SELECT * EXCLUDE (wbc) FROM blood_differential
  UNION ALL BY NAME
  FROM coagulation
  UNION ALL BY NAME
  FROM enzyme
)
SELECT
  d.subject_id,
  d.stay_id,
  d.start_time                                                  AS start,
  d.end_time                                                    AS "end",
  greatest(d.end_time, d.available_time, max(v.available_time)) AS available_time,
  min(v.hematocrit)                                             AS hematocrit_min,
  max(v.hematocrit)                                             AS hematocrit_max,
  min(v.hemoglobin)                                             AS hemoglobin_min,
  max(v.hemoglobin)                                             AS hemoglobin_max,
  min(v.platelet)                                               AS platelets_min,
  max(v.platelet)                                               AS platelets_max,
  min(v.wbc)                                                    AS wbc_min,
  max(v.wbc)                                                    AS wbc_max,
  min(v.albumin)                                                AS albumin_min,
  max(v.albumin)                                                AS albumin_max,
  min(v.globulin)                                               AS globulin_min,
  max(v.globulin)                                               AS globulin_max,
  min(v.total_protein)                                          AS total_protein_min,
  max(v.total_protein)                                          AS total_protein_max,
  min(v.aniongap)                                               AS aniongap_min,
  max(v.aniongap)                                               AS aniongap_max,
  min(v.bicarbonate)                                            AS bicarbonate_min,
  max(v.bicarbonate)                                            AS bicarbonate_max,
  min(v.bun)                                                    AS bun_min,
  max(v.bun)                                                    AS bun_max,
  min(v.calcium)                                                AS calcium_min,
  max(v.calcium)                                                AS calcium_max,
  min(v.chloride)                                               AS chloride_min,
  max(v.chloride)                                               AS chloride_max,
  min(v.creatinine)                                             AS creatinine_min,
  max(v.creatinine)                                             AS creatinine_max,
  min(v.glucose)                                                AS glucose_min,
  max(v.glucose)                                                AS glucose_max,
  min(v.sodium)                                                 AS sodium_min,
  max(v.sodium)                                                 AS sodium_max,
  min(v.potassium)                                              AS potassium_min,
  max(v.potassium)                                              AS potassium_max,
  min(v.basophils_abs)                                          AS abs_basophils_min,
  max(v.basophils_abs)                                          AS abs_basophils_max,
  min(v.eosinophils_abs)                                        AS abs_eosinophils_min,
  max(v.eosinophils_abs)                                        AS abs_eosinophils_max,
  min(v.lymphocytes_abs)                                        AS abs_lymphocytes_min,
  max(v.lymphocytes_abs)                                        AS abs_lymphocytes_max,
  min(v.monocytes_abs)                                          AS abs_monocytes_min,
  max(v.monocytes_abs)                                          AS abs_monocytes_max,
  min(v.neutrophils_abs)                                        AS abs_neutrophils_min,
  max(v.neutrophils_abs)                                        AS abs_neutrophils_max,
  min(v.atypical_lymphocytes)                                   AS atyps_min,
  max(v.atypical_lymphocytes)                                   AS atyps_max,
  min(v.bands)                                                  AS bands_min,
  max(v.bands)                                                  AS bands_max,
  min(v.immature_granulocytes)                                  AS imm_granulocytes_min,
  max(v.immature_granulocytes)                                  AS imm_granulocytes_max,
  min(v.metamyelocytes)                                         AS metas_min,
  max(v.metamyelocytes)                                         AS metas_max,
  min(v.nrbc)                                                   AS nrbc_min,
  max(v.nrbc)                                                   AS nrbc_max,
  min(v.d_dimer)                                                AS d_dimer_min,
  max(v.d_dimer)                                                AS d_dimer_max,
  min(v.fibrinogen)                                             AS fibrinogen_min,
  max(v.fibrinogen)                                             AS fibrinogen_max,
  min(v.thrombin)                                               AS thrombin_min,
  max(v.thrombin)                                               AS thrombin_max,
  min(v.inr)                                                    AS inr_min,
  max(v.inr)                                                    AS inr_max,
  min(v.pt)                                                     AS pt_min,
  max(v.pt)                                                     AS pt_max,
  min(v.ptt)                                                    AS ptt_min,
  max(v.ptt)                                                    AS ptt_max,
  min(v.alt)                                                    AS alt_min,
  max(v.alt)                                                    AS alt_max,
  min(v.alp)                                                    AS alp_min,
  max(v.alp)                                                    AS alp_max,
  min(v.ast)                                                    AS ast_min,
  max(v.ast)                                                    AS ast_max,
  min(v.amylase)                                                AS amylase_min,
  max(v.amylase)                                                AS amylase_max,
  min(v.bilirubin_total)                                        AS bilirubin_total_min,
  max(v.bilirubin_total)                                        AS bilirubin_total_max,
  min(v.bilirubin_direct)                                       AS bilirubin_direct_min,
  max(v.bilirubin_direct)                                       AS bilirubin_direct_max,
  min(v.bilirubin_indirect)                                     AS bilirubin_indirect_min,
  max(v.bilirubin_indirect)                                     AS bilirubin_indirect_max,
  min(v.ck_cpk)                                                 AS ck_cpk_min,
  max(v.ck_cpk)                                                 AS ck_cpk_max,
  min(v.ck_mb)                                                  AS ck_mb_min,
  max(v.ck_mb)                                                  AS ck_mb_max,
  min(v.ggt)                                                    AS ggt_min,
  max(v.ggt)                                                    AS ggt_max,
  min(v.ld_ldh)                                                 AS ld_ldh_min,
  max(v.ld_ldh)                                                 AS ld_ldh_max
FROM days AS d
LEFT JOIN results AS v
  ON
    v.subject_id = d.subject_id
    AND v.time >= d.start_time - INTERVAL 6 HOURS
    AND v.time <= d.end_time
GROUP BY d.subject_id, d.stay_id, d.start_time, d.end_time, d.available_time
