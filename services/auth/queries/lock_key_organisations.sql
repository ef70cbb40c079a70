-- Locks, in the order of locks, the organisations that a person ($1, locked) owns or has keys in force for.
SELECT org_id FROM organisations
 WHERE org_id IN (SELECT org_id FROM members WHERE user_id = $1 AND role = 1
                   UNION ALL
                  SELECT org_id FROM api_keys WHERE user_id = $1 AND revoke_time IS NULL)
 ORDER BY org_id
   FOR NO KEY UPDATE
