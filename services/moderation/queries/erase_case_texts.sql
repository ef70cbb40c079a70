-- Forgets the text of decided cases of deleted posts. $1 post_ids uuid[].
UPDATE cases SET title = '', body = '', tags = '{}', author_name = '', findings = '' WHERE post_id = ANY ($1::uuid[]) AND state = 2
