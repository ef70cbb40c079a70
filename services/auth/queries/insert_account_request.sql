INSERT INTO account_requests (request_id, kind, user_id, email, display_name, password_hash) VALUES ($1, $2, $3, $4, $5, $6)
