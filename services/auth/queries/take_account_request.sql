-- One request that is due: gone, if this transaction commits.
DELETE FROM account_requests
 WHERE request_id = (SELECT request_id FROM account_requests WHERE next_time <= now() ORDER BY next_time LIMIT 1
                        FOR UPDATE SKIP LOCKED)
RETURNING *
