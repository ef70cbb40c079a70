-- Where the chain goes on after what retention dropped.
SELECT sequence, hash FROM audit_checkpoints ORDER BY sequence DESC LIMIT 1
