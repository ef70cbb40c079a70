DELETE FROM links
 WHERE digest IN (SELECT digest FROM links WHERE expire_time < now() LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING digest
