-- Whether the account with an email ($1), if there is one, was logged in to from a household ($2) before.
SELECT EXISTS (SELECT FROM users JOIN known_addresses USING (user_id) WHERE email = $1 AND digest = $2)
