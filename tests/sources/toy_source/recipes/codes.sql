-- What dictionaries call the codes: there is no dictionary.
SELECT NULL::VARCHAR AS code, NULL::VARCHAR AS description WHERE false;
