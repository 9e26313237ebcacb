"""One module per kind of work: running the platform, permission, books, signals, reconciliation, the record."""
