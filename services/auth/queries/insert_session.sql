INSERT INTO sessions (session_id, org_id, user_id, refresh_digest, access_expire_time, refresh_expire_time, create_time,
                      auth_time, methods, device, network)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
