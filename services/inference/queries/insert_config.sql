INSERT INTO config_versions (version, yaml, digest, author_id, rollback_of, note)
SELECT coalesce(max(version), 0) + 1, $1, $2, $3, $4, $5
  FROM config_versions
RETURNING version, yaml, digest, author_id, create_time, rollback_of, note
