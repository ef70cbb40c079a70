SELECT * FROM factors WHERE credential_id = $1
