-- Episodes of one support of breathing, from the first time at which it was charted to the time of the next support.
--
-- An episode also ends if nothing is charted for 14 hours on the clock, then with its last time. A support that was
-- charted only once is no episode.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/treatment/ventilation.sql
-- needs: ventilation_status
-- row: stay_id, start
-- mimic-code: starttime = start, endtime = end, without subject_id
-- differs: Their oxygen_delivery drops devices that were charted without a flow (issue 1570), such as room air; here they
--   begin and end episodes.
-- columns:
--   subject_id          BIGINT     -  Patient.
--   stay_id             BIGINT     -  ICU stay.
--   start               TIMESTAMP  -  When the support was first charted.
--   end                 TIMESTAMP  -  When the next one was, or last time of this one.
--   available_time      TIMESTAMP  -  When the end was known: with the next support, or after 14 hours without any.
--   ventilation_status  VARCHAR    -  Tracheostomy, InvasiveVent, NonInvasiveVent, HFNC, SupplementalOxygen or None.
WITH
known AS (
  SELECT
    subject_id,
    stay_id,
    time,
    ventilation_status,
    max(available_time) OVER (PARTITION BY stay_id ORDER BY time) AS available_time
  FROM ventilation_status
),
linked AS (
  SELECT
    *,
    lag(ventilation_status) OVER w AS status_before,
    lag(time) OVER w               AS time_before,
    lead(time) OVER w              AS time_after,
    lead(available_time) OVER w    AS available_after
  FROM known
  WINDOW w AS (PARTITION BY stay_id ORDER BY time)
),
steps AS (
  SELECT
    subject_id,
    stay_id,
    time,
    ventilation_status,
    sum(CAST(
      status_before IS NULL OR status_before <> ventilation_status OR date_diff('hour', time_before, time) >= 14
      AS INTEGER
    )) OVER (PARTITION BY stay_id ORDER BY time)              AS episode,
    coalesce(date_diff('hour', time, time_after) < 14, false) AS is_followed,
    CASE WHEN is_followed THEN time_after ELSE time END       AS end_time,
    CASE
      WHEN is_followed THEN available_after
      ELSE greatest(available_time, date_trunc('hour', time) + INTERVAL 14 HOURS)
    END                                                       AS available_time
  FROM linked
)
SELECT
  subject_id,
  stay_id,
  min(time)               AS start,
  max(end_time)           AS "end",
  max(available_time)     AS available_time,
  max(ventilation_status) AS ventilation_status
FROM steps
GROUP BY subject_id, stay_id, episode
HAVING min(time) < max(time)
