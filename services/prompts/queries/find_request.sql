-- The post that an author made under a request_id, deleted or not.
SELECT post_id, request_digest, state = 5 AS deleted FROM posts WHERE author_id = $1 AND request_id = $2
