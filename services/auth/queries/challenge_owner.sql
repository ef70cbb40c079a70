SELECT user_id FROM challenges WHERE digest = $1
