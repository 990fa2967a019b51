-- Tidal volumes have no upper limit, so that those of 10 L and more are kept.
SELECT
  * REPLACE (
    CASE
      WHEN impossible_value AND concept LIKE 'tidal\_volume\_%' ESCAPE '\' THEN decimal_value(raw_value)
      ELSE value
    END AS value
  )
FROM vitals
