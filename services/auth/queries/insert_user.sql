-- A person and the organisation of their own. No row: the email is taken (the caller rolls back, the organisation with it).
-- $1 user_id, $2 org_id, $3 email, $4 display_name, $5 password_hash, $6 roles, $7 whether the address is proved.
WITH own AS (
    INSERT INTO organisations (org_id, display_name) VALUES ($2, $4)
)
INSERT INTO users (user_id, org_id, email, display_name, password_hash, roles, email_verify_time)
VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $7::boolean THEN now() END)
    ON CONFLICT (email) DO NOTHING
RETURNING *
