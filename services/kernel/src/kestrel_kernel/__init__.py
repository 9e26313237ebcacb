"""Feeds libkernel from the inbox and writes the journal."""
