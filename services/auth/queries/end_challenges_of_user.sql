-- $2: of one purpose; null: all.
DELETE FROM challenges WHERE user_id = $1 AND ($2::text IS NULL OR purpose = $2)
