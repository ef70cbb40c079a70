INSERT INTO proof_tries (user_id, left_over, moment, told_time) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id) DO UPDATE
   SET left_over = excluded.left_over, moment = excluded.moment, told_time = excluded.told_time
