"""The simulated world, and fixtures for the real one."""
