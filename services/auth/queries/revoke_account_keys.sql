-- Every key of an organisation's service accounts that is in force. 5: ROLE_SERVICE.
UPDATE api_keys k SET revoke_time = now(), version = k.version + 1
  FROM service_accounts s
 WHERE k.api_key_id IN (SELECT api_key_id FROM api_keys
                         WHERE org_id = $1 AND revoke_time IS NULL AND service_account_id IS NOT NULL
                         ORDER BY api_key_id FOR NO KEY UPDATE)
   AND s.service_account_id = k.service_account_id
RETURNING k.*, s.display_name AS user_name, '{5}'::smallint[] AS roles
