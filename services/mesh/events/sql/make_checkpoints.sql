INSERT INTO checkpoints (producer, consumer, partition)
SELECT $1, $2, generate_series(0, $3::integer - 1)
ON CONFLICT DO NOTHING
