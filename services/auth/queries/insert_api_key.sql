INSERT INTO api_keys (api_key_id, org_id, user_id, service_account_id, display_name, prefix, digest, scopes, expire_time,
                      request_id, request_digest, allowed_networks, models)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
RETURNING *
