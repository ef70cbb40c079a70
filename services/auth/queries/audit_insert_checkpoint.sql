INSERT INTO audit_checkpoints (sequence, hash) VALUES ($1, $2)
