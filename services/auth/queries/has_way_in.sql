-- Whether a person ($1) can log in by a password, a passkey, or an identity of these issuers ($2).
SELECT (SELECT password_hash IS NOT NULL FROM users WHERE user_id = $1)
    OR EXISTS (SELECT 1 FROM factors WHERE user_id = $1 AND kind = 3)
    OR EXISTS (SELECT 1 FROM identities WHERE user_id = $1 AND issuer = ANY ($2::text[]))
