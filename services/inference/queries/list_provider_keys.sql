SELECT provider_key_id, provider, display_name, hint, author_id, create_time
  FROM provider_keys
 WHERE $1 = '' OR provider = $1
 ORDER BY provider, provider_key_id
