-- note/radiology: reports of radiology and addenda to them, a whole note a row.
-- left out: note_type, note_seq | note_id has both
-- separate: text_value | notes are most of a dataset's bytes
-- rejected: no_time | charttime IS NULL AND storetime IS NULL

-- [every row] the report, by its type: RR a report, AR an addendum, which has the link_id of its report. The examination
-- was at charttime, the report known at storetime. Its text is whole.
SELECT
  n.subject_id,
  coalesce(n.charttime, n.storetime)    AS time,
  'RADIOLOGY_NOTE'                      AS event_type,
  name_or_unknown(split_part(n.note_id, '-', 2))  AS item,
  n.text                                AS text_value,
  n.storetime                           AS available_time,
  'minute'                              AS time_precision,
  n.hadm_id,
  note_number(n.note_id)                AS source_key,
  coalesce(note_number(d.parent), note_number(n.note_id)) AS link_id,
  CASE split_part(n.note_id, '-', 2)
    WHEN 'RR' THEN 'Report of radiology'
    WHEN 'AR' THEN 'Addendum to a report of radiology'
  END                                   AS code_description,
  n.note_id,
  d.author
FROM radiology AS n
LEFT JOIN (
  SELECT
    subject_id,
    note_id,
    min(field_value) FILTER (field_name = 'author')         AS author,
    min(field_value) FILTER (field_name = 'parent_note_id') AS parent
  FROM radiology_detail
  GROUP BY subject_id, note_id
) AS d USING (subject_id, note_id);
