DELETE FROM erasures WHERE erase_time < now() - make_interval(secs => $1)
