SELECT m.user_id, m.role, m.create_time, u.display_name, u.email, u.suspend_time, clock_timestamp() AS moment
  FROM memberships m JOIN users u USING (user_id)
 WHERE m.org_id = $1 AND m.user_id = $2
