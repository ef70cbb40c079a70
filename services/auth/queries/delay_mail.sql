UPDATE mails SET next_time = now() + make_interval(secs => $2), error = $3 WHERE mail_id = $1
