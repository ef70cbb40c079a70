DELETE FROM federated_logins
 WHERE digest IN (SELECT digest FROM federated_logins WHERE expire_time < now() LIMIT 1000)
RETURNING digest
