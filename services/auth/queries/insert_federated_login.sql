INSERT INTO federated_logins (digest, cookie_digest, nonce_digest, verifier, provider, user_id, session_id, expire_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8::float8 * interval '1 second')
