-- People who were deleted while tokens of theirs may still run ($1, seconds).
SELECT user_id, delete_time FROM deleted_users WHERE delete_time > now() - make_interval(secs => $1)
