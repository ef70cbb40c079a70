SELECT *
  FROM limits
 WHERE NOT removed AND (kind, subject_id) > ($1::smallint, $2::uuid)
 ORDER BY kind, subject_id
 LIMIT $3
