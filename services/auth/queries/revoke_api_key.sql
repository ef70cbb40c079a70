UPDATE api_keys SET revoke_time = now(), version = version + 1
 WHERE api_key_id = $1 AND revoke_time IS NULL
RETURNING *
