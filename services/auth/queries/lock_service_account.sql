SELECT * FROM service_accounts WHERE service_account_id = $1 FOR NO KEY UPDATE
