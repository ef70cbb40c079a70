SELECT sequence, id, hash FROM audit_head FOR UPDATE
