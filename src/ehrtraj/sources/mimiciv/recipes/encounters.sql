-- The times that a patient spent in hospital, and their admissions: disjoint segments [start, stop) of each patient.
-- A stay lasts from the arrival in the emergency department, or the admission, to the discharge or death, inclusive.
-- The arrival is edregtime, or the start of the stay in edstays that names the admission.
-- hadm_id is null where several admissions overlap (mc#1520): events are not assigned to any encounter then.
WITH
stays AS (
  SELECT
    subject_id,
    hadm_id,
    min(least(edregtime, admittime, arrived))               AS start,
    max(stay_end(dischtime, deathtime)) + INTERVAL 1 SECOND AS stop
  FROM admissions
  LEFT JOIN arrivals USING (subject_id, hadm_id)
  WHERE stay_end(dischtime, deathtime) >= least(edregtime, admittime)     -- not ending before they begin (mc#1691)
  GROUP BY subject_id, hadm_id
),
-- Each stay opens at its start and closes at its stop.
edges AS (
  SELECT subject_id, start AS time, 1 AS opened, hadm_id AS hadm FROM stays
  UNION ALL
  SELECT subject_id, stop AS time, -1 AS opened, -hadm_id AS hadm FROM stays
),
steps AS (
  SELECT subject_id, time, sum(opened) AS opened, sum(hadm) AS hadm
  FROM edges
  GROUP BY subject_id, time
),
-- The running sums give the number of open stays and, if it is one, its hadm_id.
segments AS (
  SELECT
    subject_id,
    time               AS start,
    lead(time) OVER w  AS stop,
    sum(opened) OVER w AS open_stays,
    sum(hadm) OVER w   AS hadm
  FROM steps
  WINDOW w AS (PARTITION BY subject_id ORDER BY time)
)
SELECT
  subject_id,
  start,
  stop,
  CASE WHEN open_stays = 1 THEN CAST(hadm AS BIGINT) END AS hadm_id
FROM segments
WHERE open_stays > 0
ORDER BY subject_id, start;
