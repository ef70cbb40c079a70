-- The address was proved by the link that was mailed to it. Fails by its unique index where somebody has it.
UPDATE users SET email = $2, email_verify_time = now() WHERE user_id = $1 RETURNING *
