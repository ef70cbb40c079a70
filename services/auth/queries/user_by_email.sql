SELECT * FROM users WHERE email = $1
