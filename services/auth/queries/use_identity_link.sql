DELETE FROM identity_links WHERE digest = $1 AND user_id = $2 AND expire_time > clock_timestamp() RETURNING *
