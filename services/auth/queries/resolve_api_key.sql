SELECT k.*, u.display_name AS user_name, u.roles, coalesce(o.plan, '') AS plan
  FROM api_keys k JOIN users u USING (user_id) LEFT JOIN organisations o ON o.org_id = k.org_id
 WHERE k.digest = $1
