"""Thin: NATS, PostgreSQL, gRPC and the checkpoint file, connected to the core."""
