-- $1 yaml, $2 author_id.
INSERT INTO policies (version, yaml, author_id)
SELECT coalesce(max(version), 0) + 1, $1, $2 FROM policies
RETURNING version, yaml, author_id, create_time
