INSERT INTO invitations (invitation_id, org_id, email, role, inviter_id, digest, expire_time)
VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (org_id, email) DO UPDATE
       SET invitation_id = $1, role = $4, inviter_id = $5, digest = $6, expire_time = $7, create_time = now()
RETURNING *
