-- Volumes have no upper limit, so that tidal volumes of 10 L and more and a minute volume of 608 L/min are kept.
SELECT
  * REPLACE (
    CASE
      WHEN impossible_value AND (concept LIKE 'tidal\_volume\_%' ESCAPE '\' OR concept = 'minute_volume')
        THEN decimal_value(raw_value)
      ELSE value
    END AS value
  )
FROM vitals
