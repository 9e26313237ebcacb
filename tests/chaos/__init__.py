"""Failures done to real servers and to the running platform: the 31 of the table, and what came of each."""
