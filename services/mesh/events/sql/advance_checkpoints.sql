WITH moved AS (
    UPDATE checkpoints AS c
       SET position = seen.position
      FROM unnest($3::smallint[], $4::text[], $5::bigint[]) AS seen (partition, epoch, position)
     WHERE c.producer = $1 AND c.consumer = $2 AND c.partition = seen.partition
       AND c.epoch = seen.epoch AND c.epoch <> '' AND c.position < seen.position
)
SELECT partition, position, epoch FROM checkpoints WHERE producer = $1 AND consumer = $2
