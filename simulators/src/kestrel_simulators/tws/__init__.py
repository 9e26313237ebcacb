"""A broker that speaks the socket protocol of TWS and IB Gateway (server version 176)."""
