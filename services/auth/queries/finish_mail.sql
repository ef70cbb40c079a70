-- Sent ($2 = 2) or given up (3). The text goes: it holds links.
UPDATE mails SET state = $2, error = $3, body = '' WHERE mail_id = $1
