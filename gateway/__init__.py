"""The edge: Envoy's configuration, rendered from the contracts, and the reference that it serves."""
