UPDATE provider_keys SET sealed = $3 WHERE provider_key_id = $1 AND sealed = $2
