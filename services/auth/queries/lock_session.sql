SELECT * FROM sessions WHERE session_id = $1 FOR UPDATE
