-- The last record before an id.
SELECT sequence, hash FROM audit_records WHERE id < $1 ORDER BY id DESC LIMIT 1
