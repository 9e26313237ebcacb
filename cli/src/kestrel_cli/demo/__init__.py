"""The demonstration: real prices through the real services, and a report that proves what happened."""
