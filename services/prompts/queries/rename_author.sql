-- Up to $3 posts of an author ($1) get the name ($2). What everyone sees of a post is told by its version; a name is not.
UPDATE posts SET author_name = $2
 WHERE post_id IN (SELECT post_id FROM posts WHERE author_id = $1 AND author_name <> $2 AND state <> 5
                    ORDER BY post_id LIMIT $3 FOR UPDATE)
RETURNING post_id
