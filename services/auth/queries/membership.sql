SELECT o.*, m.role, m.create_time AS join_time
  FROM memberships m JOIN organisations o USING (org_id)
 WHERE m.org_id = $1 AND m.user_id = $2
