SELECT event_id
  FROM dead_letters
 WHERE consumer = $1 AND retry_requested IS NOT NULL
 ORDER BY producer, position
 LIMIT $2
