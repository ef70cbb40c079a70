-- Those under way, newest first. $2 before invitation_id (null: from the newest), $3 limit.
SELECT * FROM invitations
 WHERE org_id = $1 AND expire_time > now() AND ($2::uuid IS NULL OR invitation_id < $2)
 ORDER BY invitation_id DESC
 LIMIT $3
