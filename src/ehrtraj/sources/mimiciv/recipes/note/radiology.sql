-- note/radiology: radiology reports and addenda to them, one complete note per row.
-- left out: note_type, note_seq | both are part of note_id
-- separate: text_value | notes are most of a dataset's bytes
-- rejected: no_time | charttime IS NULL AND storetime IS NULL

-- [every row] the complete report, by type: RR is a report, AR an addendum, which has the link_id of its report. The
-- examination was at charttime; the report was known at storetime.
SELECT
  n.subject_id,
  coalesce(n.charttime, n.storetime)                      AS time,
  'RADIOLOGY_NOTE'                                        AS event_type,
  name_or_unknown(split_part(n.note_id, '-', 2))          AS item,
  n.text                                                  AS text_value,
  n.storetime                                             AS available_time,
  'minute'                                                AS time_precision,
  n.hadm_id,
  note_number(n.note_id)                                  AS source_key,
  coalesce(note_number(d.parent), note_number(n.note_id)) AS link_id,
  CASE split_part(n.note_id, '-', 2)
    WHEN 'RR' THEN 'Report of radiology'
    WHEN 'AR' THEN 'Addendum to a report of radiology'
  END                                                     AS code_description,
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
