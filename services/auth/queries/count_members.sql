SELECT count(*) FROM memberships WHERE org_id = $1
