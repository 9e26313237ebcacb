"""The `kestrel` command: start the platform, look at it, decide, intervene, prove."""
