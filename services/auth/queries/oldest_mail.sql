-- How long the oldest of the mails that wait has waited, in seconds; null: none waits. Those alone are in an index.
SELECT extract(epoch FROM now() - min(create_time))::float8 FROM mails WHERE state = 1
