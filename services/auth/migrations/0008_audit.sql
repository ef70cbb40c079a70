-- The audit trail. Only adds.
SELECT 1;
