-- Who a team is left to when a member ($2) goes: an owner, else the longest-standing administrator, else member; of these
-- one who is not suspended.
SELECT m.user_id, m.role, u.display_name
  FROM members m JOIN users u USING (user_id)
 WHERE m.org_id = $1 AND m.user_id <> $2
 ORDER BY m.role > 1, coalesce(u.suspend_time > now(), false), m.role, m.create_time, m.user_id
 LIMIT 1
