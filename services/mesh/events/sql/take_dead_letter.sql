DELETE FROM dead_letters
 WHERE (consumer, event_id) = (
       SELECT consumer, event_id
         FROM dead_letters
        WHERE consumer = $1 AND event_id = $2 AND retry_requested IS NOT NULL
          FOR UPDATE SKIP LOCKED)
RETURNING envelope, position, partition
