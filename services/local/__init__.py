"""One machine: embedded PostgreSQL, Redis and Envoy, the four services, and the `promptmesh` command."""
