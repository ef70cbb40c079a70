SELECT consumer, event_id, producer, org_id, type, aggregate_id, partition, position, envelope, reason, error, attempts,
       create_time, retry_requested
  FROM dead_letters
 WHERE $1::text IS NULL OR consumer = $1
 ORDER BY create_time, event_id
 LIMIT $2
