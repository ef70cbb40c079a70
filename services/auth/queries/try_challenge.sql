UPDATE challenges SET tries = tries + 1 WHERE digest = $1
