SELECT audit_close_partitions()
