-- Of locked teams ($2), those of which a person ($1) is the only owner.
SELECT o.*
  FROM organisations o
 WHERE o.org_id = ANY ($2::uuid[]) AND NOT o.personal
   AND EXISTS (SELECT FROM members m WHERE m.org_id = o.org_id AND m.role = 1 AND m.user_id = $1)
   AND NOT EXISTS (SELECT FROM members m WHERE m.org_id = o.org_id AND m.role = 1 AND m.user_id <> $1)
 ORDER BY o.org_id
