SELECT * FROM api_keys WHERE api_key_id = $1 AND user_id = $2
