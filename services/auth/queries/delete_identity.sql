DELETE FROM identities WHERE identity_id = $1 AND user_id = $2 RETURNING *
