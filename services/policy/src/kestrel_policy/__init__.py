"""Market data to decision to intent."""
