-- `moment` is taken anew where the lock was waited for and the row has changed: it is no earlier than that change.
SELECT *, clock_timestamp() AS moment FROM sessions WHERE session_id = $1 FOR UPDATE
