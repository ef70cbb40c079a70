-- The same password under other parameters: log-ins that await their second factor go on with it (challenges).
WITH renewed AS (
    UPDATE users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2 RETURNING user_id
)
UPDATE challenges SET password_digest = sha256(convert_to($3, 'UTF8'))
  FROM renewed
 WHERE challenges.user_id = renewed.user_id AND password_digest = sha256(convert_to($2, 'UTF8'))
