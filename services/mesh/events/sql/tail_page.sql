SELECT position, partition, envelope
  FROM outbox
 WHERE position > $1
 ORDER BY position
 LIMIT $2
