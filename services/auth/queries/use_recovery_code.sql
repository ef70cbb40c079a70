DELETE FROM recovery_codes WHERE user_id = $1 AND digest = $2 RETURNING digest
