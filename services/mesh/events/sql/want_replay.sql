-- A replay under way was asked for before this: it no longer completes them.
UPDATE checkpoints
   SET epoch = '', replayer = NULL, replayer_until = NULL
 WHERE producer = $1 AND consumer = $2 AND partition = ANY ($3::smallint[])
