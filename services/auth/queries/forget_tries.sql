DELETE FROM tries WHERE key = ANY ($1::bytea[])
