INSERT INTO organisations (org_id, display_name, personal, maker_id, request_id, request_digest)
VALUES ($1, $2, false, $3, $4, $5)
RETURNING *
