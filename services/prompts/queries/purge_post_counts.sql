DELETE FROM post_counts WHERE day < $1
