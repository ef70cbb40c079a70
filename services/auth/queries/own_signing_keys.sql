SELECT kid, create_time FROM signing_keys WHERE kid = ANY ($1)
