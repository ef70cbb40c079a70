INSERT INTO links (digest, kind, user_id, org_id, email, expire_time)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
