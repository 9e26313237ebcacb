"""Fixtures of the real world (NATS, PostgreSQL, secrets) for every test below."""

pytest_plugins = ["kestrel_testkit.fixtures"]
