UPDATE api_keys SET revoke_time = now() WHERE user_id = $1 AND revoke_time IS NULL RETURNING *
