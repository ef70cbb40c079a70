"""A service's PostgreSQL: pool, named SQL, migrations, roles and schemas, partitions by day."""

from services.mesh.database.database import Connection, Database, DatabaseOptions
from services.mesh.database.queries import queries

__all__ = ["Connection", "Database", "DatabaseOptions", "queries"]
