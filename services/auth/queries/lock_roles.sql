-- One change of roles at a time: two admins who take the role from one another must not both succeed.
SELECT pg_advisory_xact_lock(hashtext(current_schema()), hashtext('roles'))
