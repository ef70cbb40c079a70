SELECT * FROM organisations WHERE maker_id = $1 AND request_id = $2
