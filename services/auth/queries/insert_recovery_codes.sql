INSERT INTO recovery_codes (user_id, org_id, digest) SELECT $1, $2, unnest($3::bytea[])
