-- Every key of a person that is in force, locked in one order.
UPDATE api_keys SET revoke_time = now(), version = version + 1
 WHERE api_key_id IN (SELECT api_key_id FROM api_keys WHERE user_id = $1 AND revoke_time IS NULL
                       ORDER BY api_key_id FOR NO KEY UPDATE)
RETURNING *
