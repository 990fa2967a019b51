-- Start and end of each visit.
SELECT 'hadm_id' AS kind, number_of(visit_id) AS id, min(arrived) AS start, max(left_at) AS stop
FROM visit
GROUP BY visit_id;
