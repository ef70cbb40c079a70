UPDATE users SET email_verify_time = coalesce(email_verify_time, now()) WHERE user_id = $1
