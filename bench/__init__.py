"""Benchmarks that print ratios: ``python -m bench``. What each figure means: docs/benchmarks.md."""
