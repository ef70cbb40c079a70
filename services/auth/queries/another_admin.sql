SELECT EXISTS (SELECT FROM users WHERE 3 = ANY (roles) AND user_id <> $1)
