-- note/discharge: discharge summaries and addenda to them, one complete note per row.
-- charttime is the date of the discharge without a time, and many notes are stored before it (2,905 in MIMIC-IV-Note
-- 2.2, mc#1817). A note is placed at the end of its day, and is available from then on or from its storage, if later.
-- left out: note_type, note_seq | both are part of note_id
-- separate: text_value | a note has 10 kB; notes are most of a dataset's bytes
-- rejected: no_time | charttime IS NULL

-- [every row] the complete note, by type: DS is a summary, AD an addendum, which has the link_id of its note
SELECT
  n.subject_id,
  day_end(n.charttime)                                                              AS time,
  'DISCHARGE_NOTE'                                                                  AS event_type,
  name_or_unknown(split_part(n.note_id, '-', 2))                                    AS item,
  n.text                                                                            AS text_value,
  not_before(n.storetime, day_end(n.charttime))                                     AS available_time,
  'day'                                                                             AS time_precision,
  n.hadm_id,
  CASE WHEN n.storetime < n.charttime THEN flag('available_before_time') ELSE 0 END AS flags,
  note_number(n.note_id)                                                            AS source_key,
  coalesce(note_number(d.parent), note_number(n.note_id))                           AS link_id,
  CASE split_part(n.note_id, '-', 2)
    WHEN 'DS' THEN 'Discharge summary'
    WHEN 'AD' THEN 'Addendum to a discharge summary'
  END                                                                               AS code_description,
  n.note_id,
  d.author
FROM discharge AS n
LEFT JOIN (
  SELECT
    subject_id,
    note_id,
    min(field_value) FILTER (field_name = 'author')         AS author,
    min(field_value) FILTER (field_name = 'parent_note_id') AS parent
  FROM discharge_detail
  GROUP BY subject_id, note_id
) AS d USING (subject_id, note_id);
