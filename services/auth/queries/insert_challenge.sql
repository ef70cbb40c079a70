INSERT INTO challenges (digest, purpose, user_id, session_id, factor_id, secret, webauthn, methods, password_digest,
                        expire_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() + make_interval(secs => $10))
RETURNING expire_time
