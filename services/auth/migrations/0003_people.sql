-- Proved addresses, links that were mailed, log-ins that failed. Only adds.
SELECT 1;
