"""What Interactive Brokers says, as our facts; what we want, as its fields. No library, no socket, no clock."""
