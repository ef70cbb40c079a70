INSERT INTO factors (factor_id, org_id, user_id, kind, display_name, secret, last_step, credential_id, credential,
                     sign_count, transports)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (credential_id) DO NOTHING
RETURNING *
