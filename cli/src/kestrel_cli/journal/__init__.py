"""Journals as records: translated, replayed, compared. The commands over it are in ``commands/journal.py``."""
