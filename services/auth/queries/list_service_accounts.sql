SELECT * FROM service_accounts WHERE org_id = $1 AND delete_time IS NULL ORDER BY service_account_id
