UPDATE api_keys SET revoke_time = now()
 WHERE api_key_id = $1 AND user_id = $2 AND revoke_time IS NULL
RETURNING *
