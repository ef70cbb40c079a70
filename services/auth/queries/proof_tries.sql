SELECT left_over, moment, told_time FROM proof_tries WHERE user_id = $1
