INSERT INTO provider_keys (provider_key_id, provider, display_name, hint, sealed, author_id)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING provider_key_id, provider, display_name, hint, author_id, create_time
