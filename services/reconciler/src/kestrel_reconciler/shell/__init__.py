"""Thin: NATS and gRPC, connected to the core. May write beads and alerts, and nothing else."""
