-- Nothing if another worker holds the cursor. The snapshot may be older than the cursor's row: what it sees of the log
-- is then shorter, never with a gap, since positions become visible in their order.
SELECT held.published,
       held.heads,
       greatest(outbox_head.position, held.published) AS log_head,
       found.positions,
       found.partitions,
       found.envelopes
  FROM (SELECT published, heads FROM relay_cursor FOR UPDATE SKIP LOCKED) AS held
 CROSS JOIN outbox_head
 CROSS JOIN LATERAL (
       SELECT array_agg(position) AS positions, array_agg(partition) AS partitions, array_agg(envelope) AS envelopes
         FROM (SELECT position, partition, envelope
                 FROM outbox
                WHERE position > held.published
                ORDER BY position
                LIMIT $1) AS waiting
       ) AS found
