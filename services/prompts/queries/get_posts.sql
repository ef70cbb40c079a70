-- Posts as events and feeds carry them: nobody's likes.
SELECT r.*, false AS liked
FROM post_records AS r
WHERE r.post_id = ANY ($1::uuid[])
ORDER BY r.post_id
