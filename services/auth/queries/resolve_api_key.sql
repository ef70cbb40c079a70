-- By the digest of a key's secret, or of the one before its last rotation. 5: ROLE_SERVICE.
WITH found AS (
    SELECT * FROM api_keys WHERE digest = $1
     UNION ALL
    SELECT * FROM api_keys WHERE previous_digest = $1
)
SELECT k.*, coalesce(u.display_name, s.display_name) AS user_name, coalesce(u.roles, '{5}') AS roles,
       coalesce(o.plan, '') AS plan
  FROM found k
  LEFT JOIN users u ON u.user_id = k.user_id
  LEFT JOIN service_accounts s ON s.service_account_id = k.service_account_id
  LEFT JOIN organisations o ON o.org_id = k.org_id
 LIMIT 1
