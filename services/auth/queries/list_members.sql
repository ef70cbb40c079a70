-- Members, oldest first. $2, $3: after this time (microseconds since the epoch; null: from the oldest) and person.
SELECT m.user_id, m.role, m.create_time, u.display_name, u.email,
       (extract(epoch FROM m.create_time) * 1000000)::bigint AS create_us
  FROM memberships m JOIN users u USING (user_id)
 WHERE m.org_id = $1
   AND ($2::bigint IS NULL
        OR (m.create_time, m.user_id) > (timestamptz 'epoch' + $2 * interval '1 microsecond', $3::uuid))
 ORDER BY m.create_time, m.user_id
 LIMIT $4
