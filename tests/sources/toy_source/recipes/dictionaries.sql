-- Codes in dictionaries: this source has no dictionary.
SELECT NULL::VARCHAR AS event_type, NULL::VARCHAR AS item WHERE false;
