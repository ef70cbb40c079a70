SELECT api_key_id, request_digest FROM api_keys WHERE service_account_id = $1 AND request_id = $2
