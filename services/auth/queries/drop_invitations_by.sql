-- Of somebody who may invite no more to roles above $3, which are the lower numbers.
DELETE FROM invitations WHERE org_id = $1 AND inviter_id = $2 AND role < $3
