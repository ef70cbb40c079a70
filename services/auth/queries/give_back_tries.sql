UPDATE tries SET count = count - 1 WHERE key = ANY ($1::bytea[]) AND count > 0
