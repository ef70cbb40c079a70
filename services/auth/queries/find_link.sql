SELECT user_id, email FROM links WHERE digest = $1 AND kind = $2 AND expire_time > now()
