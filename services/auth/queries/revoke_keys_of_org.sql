-- Revokes the keys that act for an organisation, locked in one order. $2: of this person, $3: of this service account; both
-- null: all. 5: ROLE_SERVICE.
UPDATE api_keys k SET revoke_time = now(), version = version + 1
 WHERE k.api_key_id IN (
       SELECT one.api_key_id FROM api_keys one
        WHERE one.org_id = $1 AND one.revoke_time IS NULL
          AND (($2::uuid IS NULL AND $3::uuid IS NULL) OR one.user_id = $2 OR one.service_account_id = $3)
        ORDER BY one.api_key_id
          FOR NO KEY UPDATE)
RETURNING k.*,
    coalesce((SELECT u.display_name FROM users u WHERE u.user_id = k.user_id),
             (SELECT s.display_name FROM service_accounts s WHERE s.service_account_id = k.service_account_id))
        AS user_name,
    coalesce((SELECT u.roles FROM users u WHERE u.user_id = k.user_id), '{5}') AS roles
