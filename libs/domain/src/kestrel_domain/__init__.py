"""Exact numbers, identifiers, subjects, tokens: imports nothing that does I/O."""
