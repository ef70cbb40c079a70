SELECT * FROM invitations WHERE digest = $1 AND expire_time > now()
