-- Of two that bring the same state at once, one waits for the other's lock and then finds nothing.
DELETE FROM federated_logins
 WHERE digest = $1 AND cookie_digest = $2 AND expire_time > clock_timestamp()
RETURNING *
