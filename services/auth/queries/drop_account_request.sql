DELETE FROM account_requests WHERE request_id = $1
