-- Log-ins under way that began by a method ($2, as in `methods` of sessions) and await their second factor.
DELETE FROM challenges WHERE user_id = $1 AND purpose = 'log_in' AND $2 = ANY (methods)
