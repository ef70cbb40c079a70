-- Oldest first, after $1, $2 limit.
SELECT * FROM audit_records WHERE id > $1 ORDER BY id LIMIT $2
