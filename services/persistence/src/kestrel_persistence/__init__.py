"""Every stream into PostgreSQL, once, hash-chained."""
