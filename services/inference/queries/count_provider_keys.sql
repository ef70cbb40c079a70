SELECT count(*) AS all_keys, count(*) FILTER (WHERE provider = $1) AS of_provider FROM provider_keys
