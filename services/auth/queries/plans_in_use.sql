-- Plans that organisations have and that are not among $1.
SELECT plan, count(*) AS organisations FROM organisations WHERE plan <> '' AND plan <> ALL ($1::text[]) GROUP BY plan
