-- The lock of the person's row is held; the condition is what makes a code good once all the same.
UPDATE factors SET last_step = $2, last_use_time = clock_timestamp() WHERE factor_id = $1 AND last_step < $2
RETURNING factor_id
