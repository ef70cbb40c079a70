-- Tombstones and the name of a person ($1) who is gone tell of nobody any more.
WITH named AS (
    DELETE FROM author_names WHERE user_id = $1
)
UPDATE posts
   SET author_id = '00000000-0000-0000-0000-000000000000', request_id = NULL, request_digest = NULL
 WHERE author_id = $1 AND state = 5
