-- One change at a time; processes see that there was one.
UPDATE provider_keys_version SET version = version + 1 RETURNING version
