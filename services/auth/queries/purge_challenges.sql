DELETE FROM challenges
 WHERE digest IN (SELECT digest FROM challenges WHERE expire_time < now() ORDER BY expire_time LIMIT 1000
                     FOR UPDATE SKIP LOCKED)
RETURNING digest
