UPDATE service_accounts SET delete_time = now() WHERE org_id = $1 AND delete_time IS NULL RETURNING *
