UPDATE factors SET sign_count = $2, last_use_time = clock_timestamp() WHERE factor_id = $1 RETURNING factor_id
