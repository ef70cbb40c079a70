-- $1: a day's partition.
SELECT audit_drop_day($1)
