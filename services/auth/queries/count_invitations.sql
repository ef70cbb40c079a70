SELECT count(*) FROM invitations WHERE org_id = $1 AND email <> $2 AND expire_time > now()
