SELECT version, yaml, digest, author_id, create_time, rollback_of, note
  FROM config_versions
 WHERE version = $1
