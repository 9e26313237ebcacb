"""libkernel for Python."""
