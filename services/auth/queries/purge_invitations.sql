DELETE FROM invitations WHERE expire_time < now()
