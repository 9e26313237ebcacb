"""Brokers that speak the brokers' own protocols, and one matching engine."""
