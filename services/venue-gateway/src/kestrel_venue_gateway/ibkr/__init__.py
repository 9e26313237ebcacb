"""A session with Trader Workstation or IB Gateway of Interactive Brokers."""
