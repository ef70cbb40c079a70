"""The parts that come with the package (PostgreSQL, Redis, Envoy): where they are and how each is run."""
