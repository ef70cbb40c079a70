DELETE FROM suspects WHERE consumer = $1 AND event_id = $2
