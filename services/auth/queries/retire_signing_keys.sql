-- Removes keys that nobody has signed with for so long ($1, seconds) that no token of theirs runs.
DELETE FROM signing_keys WHERE seen_time < now() - make_interval(secs => $1) RETURNING kid
