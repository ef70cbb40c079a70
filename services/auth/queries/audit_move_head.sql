UPDATE audit_head SET sequence = $1, id = $2, hash = $3
