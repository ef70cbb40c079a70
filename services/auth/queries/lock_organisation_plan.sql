-- Locked before its plan is changed, so that the time of the change is after every token made with the plan before.
-- owner_id: of a personal organisation.
SELECT org_id, display_name, plan,
       (SELECT u.user_id FROM users u WHERE u.org_id = o.org_id AND o.personal) AS owner_id
  FROM organisations o
 WHERE org_id = $1
   FOR NO KEY UPDATE OF o
