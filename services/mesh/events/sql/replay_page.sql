SELECT position, partition, envelope
  FROM outbox
 WHERE position > $1 AND position <= $2 AND partition = ANY ($3::smallint[])
 ORDER BY position
 LIMIT $4
