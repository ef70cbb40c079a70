-- Oldest first, after $1, up to the sequence $2 and before the id $6, $3 limit; acts from $4 on, before $5 (null: all).
SELECT * FROM audit_records
 WHERE id > $1 AND sequence <= $2
   AND ($4::timestamptz IS NULL OR act_time >= $4)
   AND ($5::timestamptz IS NULL OR act_time < $5)
   AND ($6::uuid IS NULL OR id < $6)
 ORDER BY id
 LIMIT $3
