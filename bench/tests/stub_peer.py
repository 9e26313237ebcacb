"""A peer that is no library at all, for the tests of how peers are asked."""

import sys

from bench.peers import trades
from bench.peers.serve import serve


def _right(trade_count: int) -> dict[str, float]:
    print("what a library prints must not get in between")
    return {"ns": 7.0, "orders": 2 * trade_count, "realized_pnl": trade_count * trades.REALIZED_PER_TRADE}


def _wrong(trade_count: int) -> dict[str, float]:
    return {"ns": 1.0, "orders": 2 * trade_count, "realized_pnl": 0}


def _ends(trade_count: int) -> dict[str, float]:
    sys.exit(f"out of {trade_count} tricks")


if __name__ == "__main__":
    serve({"stub": "1.0"}, {"right": _right, "wrong": _wrong, "ends": _ends})
