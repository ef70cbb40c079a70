INSERT INTO identity_links (digest, user_id, org_id, provider, issuer, subject, email, expire_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8::float8 * interval '1 second')
