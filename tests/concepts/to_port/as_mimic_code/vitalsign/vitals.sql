-- A temperature in Fahrenheit under the item in Celsius is dropped, not converted.
SELECT * REPLACE (CASE WHEN concept <> 'temperature' OR NOT unit_inferred THEN value END AS value) FROM vitals
