-- A key with who it acts for. 5: ROLE_SERVICE.
SELECT k.*, coalesce(u.display_name, s.display_name) AS user_name, coalesce(u.roles, '{5}') AS roles,
       clock_timestamp() AS moment
  FROM api_keys k
  LEFT JOIN users u ON u.user_id = k.user_id
  LEFT JOIN service_accounts s ON s.service_account_id = k.service_account_id
 WHERE k.api_key_id = $1
