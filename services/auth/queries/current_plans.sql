-- The newest plans, if they are newer than $1.
SELECT version, yaml, digest, author_id, create_time FROM plan_versions WHERE version > $1 ORDER BY version DESC LIMIT 1
