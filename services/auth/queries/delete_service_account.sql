UPDATE service_accounts SET delete_time = now()
 WHERE service_account_id = $1 AND org_id = $2 AND delete_time IS NULL
RETURNING *
