DELETE FROM factors WHERE factor_id = $1 AND user_id = $2 RETURNING *
