-- Of somebody who may invite no more.
DELETE FROM invitations WHERE org_id = $1 AND inviter_id = $2
