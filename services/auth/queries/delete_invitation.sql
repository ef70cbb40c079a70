DELETE FROM invitations WHERE invitation_id = $1 AND digest = $2 RETURNING invitation_id
