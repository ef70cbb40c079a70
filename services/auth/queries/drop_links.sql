-- Makes a person's links of some kinds ($2) worthless.
DELETE FROM links WHERE user_id = $1 AND kind = ANY ($2::smallint[])
