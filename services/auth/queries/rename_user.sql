UPDATE users SET display_name = $2, version = version + 1 WHERE user_id = $1 RETURNING *
