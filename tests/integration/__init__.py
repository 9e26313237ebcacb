"""The running platform: all services, as a user starts them."""
