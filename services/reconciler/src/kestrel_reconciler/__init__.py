"""Compares broker truth, machine truth and the ledger; never corrects."""
