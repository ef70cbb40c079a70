DELETE FROM invitations WHERE org_id = $1 AND invitation_id = $2 AND expire_time > now() RETURNING *
