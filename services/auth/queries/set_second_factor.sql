-- True while there is a factor.
UPDATE users SET second_factor = EXISTS (SELECT FROM factors f WHERE f.user_id = $1) WHERE user_id = $1
RETURNING second_factor
