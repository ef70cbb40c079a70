-- Every key of a person that is in force.
UPDATE api_keys SET revoke_time = now(), version = version + 1
 WHERE user_id = $1 AND revoke_time IS NULL
RETURNING *
