-- Persons of identity providers. Only adds.
SELECT 1;
