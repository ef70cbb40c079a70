SELECT sequence, hash FROM audit_head
