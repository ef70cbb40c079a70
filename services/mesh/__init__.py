"""The kit that every service is built from; docs/kit.md is its public face."""
