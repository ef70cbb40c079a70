INSERT INTO plan_versions (version, yaml, digest, author_id)
SELECT coalesce(max(version), 0) + 1, $1, $2, $3 FROM plan_versions
RETURNING version, yaml, digest, author_id, create_time
