SELECT k.*, u.display_name AS user_name, u.roles
  FROM api_keys k JOIN users u USING (user_id)
 WHERE k.digest = $1
