UPDATE checkpoints AS c
   SET position = greatest(c.position, $6),
       epoch = seen.epoch,
       replays_begun = 0,
       replayer = NULL,
       replayer_until = NULL
  FROM unnest($3::smallint[], $5::text[]) AS seen (partition, epoch)
 WHERE c.producer = $1 AND c.consumer = $2 AND c.partition = seen.partition AND c.replayer = $4
