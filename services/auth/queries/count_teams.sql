SELECT count(*) FROM members WHERE user_id = $1
