-- Closes open cases of revisions below the given ones: edited or deleted, they need no decision. The text goes too.
-- $1 post_ids uuid[], $2 revisions int[] (2147483647 for a deleted post).
UPDATE cases c
SET state = 3, resolve_time = now(), title = '', body = '', tags = '{}', author_name = '', findings = ''
FROM unnest($1::uuid[], $2::integer[]) AS newer (post_id, revision)
WHERE c.post_id = newer.post_id AND c.revision < newer.revision AND c.state = 1
