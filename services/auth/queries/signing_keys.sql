SELECT kid, x, y FROM signing_keys ORDER BY create_time, kid
