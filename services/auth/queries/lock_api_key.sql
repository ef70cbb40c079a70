SELECT * FROM api_keys WHERE api_key_id = $1 FOR NO KEY UPDATE
