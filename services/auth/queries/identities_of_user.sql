SELECT * FROM identities WHERE user_id = $1 ORDER BY create_time, identity_id LIMIT 16
