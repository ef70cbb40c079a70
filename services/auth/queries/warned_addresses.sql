-- To whom a warning of a limit goes: $1 kind (1 an API key: its person; 2 a person; 3 an organisation: its owners), $2 id.
SELECT u.user_id, u.org_id, u.email
  FROM users u
 WHERE $1::smallint = 1 AND u.user_id = (SELECT k.user_id FROM api_keys k WHERE k.api_key_id = $2::uuid)
    OR $1::smallint = 2 AND u.user_id = $2::uuid
    OR $1::smallint = 3 AND u.user_id IN (SELECT m.user_id FROM memberships m WHERE m.org_id = $2::uuid AND m.role = 1)
 ORDER BY u.user_id
