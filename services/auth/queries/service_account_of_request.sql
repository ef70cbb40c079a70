SELECT * FROM service_accounts WHERE org_id = $1 AND request_id = $2
