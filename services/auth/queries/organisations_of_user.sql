-- A person's organisations, their own first.
SELECT o.*, m.role
  FROM memberships m JOIN organisations o USING (org_id)
 WHERE m.user_id = $1
 ORDER BY o.personal DESC, o.display_name, o.org_id
