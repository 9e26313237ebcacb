"""The gateway's hands: NATS, gRPC, venues."""
