-- What subjects of an organisation ($1) have used since a moment each: a row for each of the arrays' elements, in their
-- order. Kinds are numbers of promptmesh.inference.v1.LimitKind: 1 an API key, 2 a person, 3 the organisation.
SELECT coalesce(used.requests, 0)::bigint AS requests, coalesce(used.nanos, 0)::bigint AS nanos
  FROM unnest($2::smallint[], $3::uuid[], $4::timestamptz[]) WITH ORDINALITY AS asked (kind, subject_id, since, place)
 CROSS JOIN LATERAL (
       SELECT sum(u.requests) AS requests, sum(u.cost_nanos) AS nanos
         FROM usage_hourly AS u
        WHERE u.org_id = $1
          AND u.bucket >= asked.since
          AND (asked.kind = 3
               OR asked.kind = 1 AND u.api_key_id = asked.subject_id
               OR asked.kind = 2 AND u.user_id = asked.subject_id)
 ) AS used
 ORDER BY asked.place
