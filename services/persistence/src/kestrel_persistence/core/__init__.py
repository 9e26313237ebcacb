"""Pure: stored messages in, rows, hashes and verdicts out. No I/O, no clock, no chance."""
