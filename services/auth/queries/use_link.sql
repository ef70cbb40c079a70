-- Uses a link up; of two at once, one finds it.
DELETE FROM links WHERE digest = $1 AND kind = $2 AND user_id = $3 AND expire_time > now() RETURNING email
