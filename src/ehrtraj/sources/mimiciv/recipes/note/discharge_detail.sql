-- note/discharge_detail: details of a discharge summary, one field per row: its author, its addenda.
-- A field is available when its note is.
-- rejected: no_code | nullif(trim(field_name), '') IS NULL
-- rejected: no_note | NOT EXISTS (FROM discharge AS n WHERE n.subject_id = discharge_detail.subject_id AND n.note_id = discharge_detail.note_id AND n.charttime IS NOT NULL)

-- [every row] a field. A note and its addendum are linked in both directions by the number of the other note
SELECT
  d.subject_id,
  day_end(n.charttime)                          AS time,
  'DISCHARGE_DETAIL'                            AS event_type,
  name_or_unknown(d.field_name)                 AS item,
  d.field_value                                 AS text_value,
  not_before(n.storetime, day_end(n.charttime)) AS available_time,
  'day'                                         AS time_precision,
  n.hadm_id,
  note_number(d.note_id)                        AS source_key,
  CASE
    WHEN d.field_name = 'parent_note_id'
      THEN coalesce(note_number(d.field_value), note_number(d.note_id))
    ELSE note_number(d.note_id)
  END                                           AS link_id,
  d.note_id,
  d.field_ordinal
FROM discharge_detail AS d
LEFT JOIN (
  SELECT subject_id, note_id, min(hadm_id) AS hadm_id, min(charttime) AS charttime, min(storetime) AS storetime
  FROM discharge
  GROUP BY subject_id, note_id
) AS n USING (subject_id, note_id);
