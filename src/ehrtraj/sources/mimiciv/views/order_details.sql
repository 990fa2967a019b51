-- Details of orders that are not drugs, one field of one order per row, such as the code status.
SELECT
  subject_id,
  hadm_id,
  time,
  event_time,
  available_time,
  split_part(code, '//', 2) AS field,
  split_part(code, '//', 3) AS detail,
  link_id                   AS order_id
FROM happened
WHERE code LIKE 'ORDER\_DETAIL//%' ESCAPE '\'
