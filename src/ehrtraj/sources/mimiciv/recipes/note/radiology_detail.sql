-- note/radiology_detail: details of a radiology report (examination's code and name, CPT code, addenda), one per row.
-- A field is available when its report is.
-- rejected: no_code | nullif(trim(field_name), '') IS NULL
-- rejected: no_note | NOT EXISTS (FROM radiology AS n WHERE n.subject_id = radiology_detail.subject_id AND n.note_id = radiology_detail.note_id AND coalesce(n.charttime, n.storetime) IS NOT NULL)

-- [every row] a field. Codes and names are part of the event's code. The number of another note is text, and link_id
-- connects the two notes
SELECT
  d.subject_id,
  coalesce(n.charttime, n.storetime)                                                          AS time,
  'RADIOLOGY_DETAIL'                                                                          AS event_type,
  CASE
    WHEN d.field_name IN ('exam_code', 'exam_name', 'cpt_code')
      THEN d.field_name || '//' || name_or_unknown(d.field_value)
    ELSE name_or_unknown(d.field_name)
  END                                                                                         AS item,
  CASE WHEN d.field_name NOT IN ('exam_code', 'exam_name', 'cpt_code') THEN d.field_value END AS text_value,
  n.storetime                                                                                 AS available_time,
  'minute'                                                                                    AS time_precision,
  n.hadm_id,
  note_number(d.note_id)                                                                      AS source_key,
  CASE
    WHEN d.field_name = 'parent_note_id'
      THEN coalesce(note_number(d.field_value), note_number(d.note_id))
    ELSE note_number(d.note_id)
  END                                                                                         AS link_id,
  CASE WHEN d.field_name = 'exam_code' THEN e.exam_name END                                   AS code_description,
  d.note_id,
  d.field_ordinal
FROM radiology_detail AS d
LEFT JOIN (
  SELECT subject_id, note_id, min(hadm_id) AS hadm_id, min(charttime) AS charttime, min(storetime) AS storetime
  FROM radiology
  GROUP BY subject_id, note_id
) AS n USING (subject_id, note_id)
LEFT JOIN (
  SELECT subject_id, note_id, field_ordinal, min(field_value) AS exam_name
  FROM radiology_detail
  WHERE field_name = 'exam_name'
  GROUP BY subject_id, note_id, field_ordinal
) AS e ON e.subject_id = d.subject_id AND e.note_id = d.note_id AND e.field_ordinal = d.field_ordinal;
