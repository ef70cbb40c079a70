UPDATE checkpoints SET replayer = NULL, replayer_until = NULL WHERE producer = $1 AND consumer = $2 AND replayer = $3
