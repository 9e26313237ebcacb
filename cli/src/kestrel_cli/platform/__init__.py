"""The platform on one machine: NATS, PostgreSQL, the paper venue and six services, as supervised processes."""
