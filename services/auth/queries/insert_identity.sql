-- No row: somebody has it, or the person has another of that issuer.
INSERT INTO identities (identity_id, org_id, user_id, provider, issuer, subject, email, last_use_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $8::boolean THEN clock_timestamp() END)
    ON CONFLICT DO NOTHING
RETURNING *
