DELETE FROM deleted_users WHERE delete_time < now() - make_interval(secs => $1)
