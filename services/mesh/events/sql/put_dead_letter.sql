INSERT INTO dead_letters (consumer, event_id, producer, org_id, type, aggregate_id, partition, position, envelope,
                          reason, error, attempts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT DO NOTHING
