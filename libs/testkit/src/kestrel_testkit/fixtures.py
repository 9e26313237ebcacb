"""Fixtures of the real world."""
