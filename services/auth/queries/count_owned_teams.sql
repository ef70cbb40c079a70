SELECT count(*) FROM members WHERE user_id = $1 AND role = 1
