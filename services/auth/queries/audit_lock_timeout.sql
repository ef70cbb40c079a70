-- A lock that is not had soon would hold up everybody queued behind it.
SET LOCAL lock_timeout = '2s'
