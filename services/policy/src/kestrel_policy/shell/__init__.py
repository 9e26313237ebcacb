"""Connects the core to the bus and to operators."""
