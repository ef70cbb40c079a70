UPDATE checkpoints SET position = 0, epoch = '' WHERE producer = $1 AND consumer = $2 AND partition = ANY ($3::smallint[])
