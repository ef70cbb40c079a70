SELECT * FROM service_accounts WHERE service_account_id = $1 AND delete_time IS NULL
