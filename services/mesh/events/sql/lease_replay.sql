UPDATE checkpoints
   SET replayer = $4, replayer_until = now() + make_interval(secs => $5), replays_begun = replays_begun + 1
 WHERE producer = $1 AND consumer = $2 AND partition = ANY ($3::smallint[])
   AND (replayer IS NULL OR replayer = $4 OR replayer_until < now())
RETURNING partition, position, replays_begun
