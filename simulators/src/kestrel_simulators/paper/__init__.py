"""The paper venue: a broker in a process of its own, with a memory of its own."""
