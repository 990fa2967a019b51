-- The times that a person spent in the clinic, and the visits. Visits of one person do not overlap.
SELECT subject_id, arrived AS start, left_at + INTERVAL 1 SECOND AS stop, number_of(visit_id) AS hadm_id
FROM visit
WHERE left_at >= arrived
ORDER BY subject_id, start;
