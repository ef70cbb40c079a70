-- Plans and who has which. Only adds.
SELECT 1;
