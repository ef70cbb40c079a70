UPDATE factors SET secret = $3 WHERE factor_id = $1 AND secret = $2
