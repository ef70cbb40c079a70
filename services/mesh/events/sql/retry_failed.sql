UPDATE dead_letters
   SET retry_requested = NULL, attempts = attempts + 1, error = $3
 WHERE consumer = $1 AND event_id = $2
