-- People ($1) and organisations ($2) that are gone: to be erased now, and again for a while.
INSERT INTO erasures (user_id, org_id, again_time)
SELECT user_id, org_id, now() + make_interval(secs => $3)
  FROM unnest($1::uuid[], $2::uuid[]) AS gone (user_id, org_id)
    ON CONFLICT (user_id, org_id) DO NOTHING
