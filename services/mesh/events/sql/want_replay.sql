UPDATE checkpoints SET epoch = '' WHERE producer = $1 AND consumer = $2 AND partition = ANY ($3::smallint[])
