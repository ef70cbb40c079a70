-- With the version that they stand at, in one snapshot.
SELECT state.version, keys.provider_key_id, keys.provider, keys.sealed
  FROM provider_keys_version AS state
  LEFT JOIN provider_keys AS keys ON true
 ORDER BY keys.provider, keys.provider_key_id
