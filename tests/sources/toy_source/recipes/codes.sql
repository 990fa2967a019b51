-- Descriptions of codes: this source has no dictionary.
SELECT NULL::VARCHAR AS code, NULL::VARCHAR AS description WHERE false;
