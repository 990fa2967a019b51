-- The codes that dictionaries have: there is no dictionary.
SELECT NULL::VARCHAR AS event_type, NULL::VARCHAR AS item WHERE false;
