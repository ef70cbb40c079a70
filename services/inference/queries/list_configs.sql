-- A page, newest first, before a version. It ends early where the texts before a row come to $3 bytes.
SELECT version, yaml, digest, author_id, create_time, rollback_of, note, oldest
  FROM (SELECT page.*,
               (SELECT min(version) FROM config_versions) AS oldest,
               sum(octet_length(yaml)) OVER (ORDER BY version DESC) - octet_length(yaml) AS bytes_before
          FROM (SELECT *
                  FROM config_versions
                 WHERE version < $1
                 ORDER BY version DESC
                 LIMIT $2) AS page) AS sized
 WHERE bytes_before < $3
 ORDER BY version DESC
