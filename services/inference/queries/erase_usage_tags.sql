-- What a person ($1) tagged their calls with may be anything, their name too.
DELETE FROM usage_tags_hourly WHERE user_id = $1
