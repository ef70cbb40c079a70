-- Taken before anything of a post is changed. A read that follows it in the transaction sees the present state.
SELECT post_id FROM posts WHERE post_id = $1 AND state <> 5 FOR UPDATE
