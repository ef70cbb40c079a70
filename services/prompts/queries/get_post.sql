-- A post for a caller ($2; null: nobody in particular).
SELECT r.*, EXISTS (SELECT FROM likes AS l WHERE l.post_id = r.post_id AND l.user_id = $2) AS liked
FROM post_records AS r
WHERE r.post_id = $1
