-- What a person ($1) who is gone has configured stays, without them.
WITH keys_of AS (
    UPDATE provider_keys SET author_id = '00000000-0000-0000-0000-000000000000' WHERE author_id = $1
)
UPDATE config_versions SET author_id = NULL WHERE author_id = $1
