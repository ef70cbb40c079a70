-- People whose email has a prefix ($3, a pattern) or whose name contains a text ($4, not empty), newest first. $1 before
-- user_id (null: from the newest), $2 limit. What few match comes from the two indexes; what many match is met soon on
-- the way from the newest: which of the two, PostgreSQL estimates (see plan_search). Of 200,000 people: 1 to 17 ms.
SELECT * FROM users
 WHERE ($1::uuid IS NULL OR user_id < $1)
   AND (email LIKE $3
        OR (strpos(lower(display_name), lower($4)) > 0 -- first: on that way it is asked of every row, and cheap
            AND search_grams(display_name, 1) @> search_grams($4, least(3, length(lower($4))))))
 ORDER BY user_id DESC
 LIMIT $2
