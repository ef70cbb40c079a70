DELETE FROM identity_links
 WHERE digest IN (SELECT digest FROM identity_links WHERE expire_time < now() LIMIT 1000)
RETURNING digest
