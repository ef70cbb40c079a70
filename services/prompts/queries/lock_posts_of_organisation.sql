-- Up to $2 posts of an organisation ($1), locked. No index: organisations end seldom.
SELECT post_id FROM posts WHERE org_id = $1 AND state <> 5 ORDER BY post_id LIMIT $2 FOR UPDATE
