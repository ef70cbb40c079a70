"""The audit trail: acts of all services, appended in a chain of hashes, read, exported and verified."""
