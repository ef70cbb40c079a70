INSERT INTO outbox (id, org_id, aggregate_id, partition, type, envelope)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::bytea[])
