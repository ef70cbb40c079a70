SELECT org_id FROM users WHERE user_id = $1
