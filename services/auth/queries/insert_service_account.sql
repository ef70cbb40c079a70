INSERT INTO service_accounts (service_account_id, org_id, display_name, maker_id, request_id, request_digest)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING *
