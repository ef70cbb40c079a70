-- A service account's keys, newest first. $2 before api_key_id (null: from the newest), $3 limit.
SELECT * FROM api_keys
 WHERE service_account_id = $1 AND ($2::uuid IS NULL OR api_key_id < $2)
 ORDER BY api_key_id DESC
 LIMIT $3
