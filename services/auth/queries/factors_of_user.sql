SELECT * FROM factors WHERE user_id = $1 ORDER BY factor_id
