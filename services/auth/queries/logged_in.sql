UPDATE users SET last_login_time = $2 WHERE user_id = $1
