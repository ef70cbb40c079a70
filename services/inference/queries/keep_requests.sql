UPDATE partitioned_tables
   SET retention_days = $1
 WHERE table_name = 'requests' AND retention_days IS DISTINCT FROM $1
