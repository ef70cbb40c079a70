-- The same password under the present parameters, unless it was changed meanwhile.
UPDATE users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2
