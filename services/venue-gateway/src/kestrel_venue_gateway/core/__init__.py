"""The gateway's decisions: pure, without I/O, clock or chance."""
