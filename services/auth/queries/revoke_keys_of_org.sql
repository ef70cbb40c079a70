-- Revokes the keys that act for an organisation. $2: of this person, $3: of this service account; both null: all.
UPDATE api_keys k SET revoke_time = now(), version = version + 1
 WHERE k.org_id = $1 AND k.revoke_time IS NULL
   AND (($2::uuid IS NULL AND $3::uuid IS NULL) OR k.user_id = $2 OR k.service_account_id = $3)
RETURNING k.*,
    coalesce((SELECT u.display_name FROM users u WHERE u.user_id = k.user_id),
             (SELECT s.display_name FROM service_accounts s WHERE s.service_account_id = k.service_account_id))
        AS user_name,
    coalesce((SELECT u.roles FROM users u WHERE u.user_id = k.user_id), '{5}') AS roles
