-- Urine per kilogram and hour, over 6, 12 and 24 hours. A rate needs measurements that cover all of these hours.
-- needs: urine_output_windows, urine_output_covered, weight_durations
SELECT
  u.stay_id,
  u.charttime,
  w.weight,
  u.urineoutput                                                                       AS uo,
  h6.urineoutput                                                                      AS urineoutput_6hr,
  h12.urineoutput                                                                     AS urineoutput_12hr,
  h24.urineoutput                                                                     AS urineoutput_24hr,
  CASE WHEN h6.hours >= 6 THEN round(h6.urineoutput / w.weight / h6.hours, 4) END     AS uo_mlkghr_6hr,
  CASE WHEN h12.hours >= 12 THEN round(h12.urineoutput / w.weight / h12.hours, 4) END AS uo_mlkghr_12hr,
  CASE WHEN h24.hours >= 24 THEN round(h24.urineoutput / w.weight / h24.hours, 4) END AS uo_mlkghr_24hr,
  round(h6.hours, 2)                                                                  AS uo_tm_6hr,
  round(h12.hours, 2)                                                                 AS uo_tm_12hr,
  round(h24.hours, 2)                                                                 AS uo_tm_24hr
FROM urine_output_covered AS u
JOIN urine_output_windows AS h6 ON h6.span = 6 AND h6.stay_id = u.stay_id AND h6.charttime = u.charttime
JOIN urine_output_windows AS h12 ON h12.span = 12 AND h12.stay_id = u.stay_id AND h12.charttime = u.charttime
JOIN urine_output_windows AS h24 ON h24.span = 24 AND h24.stay_id = u.stay_id AND h24.charttime = u.charttime
LEFT JOIN weight_durations AS w
  ON w.stay_id = u.stay_id AND u.charttime > w.starttime AND u.charttime <= w.endtime
