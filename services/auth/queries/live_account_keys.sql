SELECT count(*) FROM api_keys
 WHERE service_account_id = $1 AND revoke_time IS NULL AND (expire_time IS NULL OR expire_time > now())
