-- A mail of nobody who has an account, which is over: the address goes too.
DELETE FROM mails WHERE mail_id = $1
