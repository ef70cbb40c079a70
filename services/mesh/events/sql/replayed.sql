UPDATE checkpoints
   SET position = greatest(position, $6),
       replays_begun = 0,
       replayer_until = CASE WHEN replayer = $4 THEN now() + make_interval(secs => $5) ELSE replayer_until END
 WHERE producer = $1 AND consumer = $2 AND partition = ANY ($3::smallint[])
