-- What is set for a subject; no row where nothing is.
SELECT * FROM limits WHERE kind = $1 AND subject_id = $2 AND NOT removed
