-- Up to $1 mails that are due, held for $2 seconds: of a process that dies they are taken up again after that.
UPDATE mails SET attempts = attempts + 1, next_time = now() + make_interval(secs => $2)
 WHERE mail_id IN (
       SELECT mail_id FROM mails WHERE state = 1 AND next_time <= now() ORDER BY next_time LIMIT $1
          FOR UPDATE SKIP LOCKED)
RETURNING mail_id, user_id, recipient, subject, body, attempts, create_time,
          extract(epoch FROM now() - create_time)::float8 AS age_s
