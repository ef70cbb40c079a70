SELECT *
  FROM limits
 WHERE version > $1
 ORDER BY version
