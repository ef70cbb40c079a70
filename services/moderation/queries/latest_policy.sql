SELECT version, yaml, author_id, create_time FROM policies ORDER BY version DESC LIMIT 1
