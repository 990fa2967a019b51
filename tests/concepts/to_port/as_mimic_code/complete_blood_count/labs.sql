-- Only one of the items of white cells is used: results of 51300 and 51755 are in no row.
SELECT * FROM labs WHERE concept <> 'wbc' OR item = '51301'
