DELETE FROM factors WHERE user_id = $1 RETURNING factor_id
