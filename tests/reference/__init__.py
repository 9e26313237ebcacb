"""A second libkernel, in plain Python: slow, obvious, and written from the manual.

It takes what the library takes (``inputs.Input``), answers what the library answers, and packs the same state into the
same bytes, so every outcome, event, view, digest and saved state of the two can be compared. Where they differ, one of
them is wrong, or the manual is.

Start with ``kernel.py``; the rules are in ``requests.py``, ``orders.py``, ``fills.py`` and ``ledger.py``.
``python -m tests.reference --inputs 100000 --seed 7`` compares the two over random inputs.
"""
