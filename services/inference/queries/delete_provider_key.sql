DELETE FROM provider_keys WHERE provider_key_id = $1 RETURNING provider
