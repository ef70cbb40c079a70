-- $2: of the person whose row is locked; $3: name of the provider now; $4: address there now.
UPDATE identities SET last_use_time = clock_timestamp(), provider = $3, email = $4
 WHERE identity_id = $1 AND user_id = $2
RETURNING identity_id
