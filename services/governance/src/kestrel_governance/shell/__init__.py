"""Connects the core to NATS, the flags bucket, the clock and gRPC."""
