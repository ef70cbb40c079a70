-- Second factors. Only adds.
SELECT 1;
