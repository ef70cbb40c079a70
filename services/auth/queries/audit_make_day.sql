-- $1: a UTC day. The kit makes days ahead; this is for when it could not.
SELECT mesh_make_partition('audit_records', $1)
