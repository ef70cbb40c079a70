INSERT INTO mails (mail_id, org_id, user_id, recipient, template, subject, body) VALUES ($1, $2, $3, $4, $5, $6, $7)
