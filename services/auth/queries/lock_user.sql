SELECT *, clock_timestamp() AS moment FROM users WHERE user_id = $1 FOR NO KEY UPDATE
