"""The kernel service's thin part: lease, bus, snapshots, gRPC."""
