DELETE FROM mails
 WHERE mail_id IN (SELECT mail_id FROM mails
                    WHERE state > 1 AND create_time < now() - make_interval(secs => $1) LIMIT 1000
                      FOR UPDATE SKIP LOCKED)
RETURNING mail_id
