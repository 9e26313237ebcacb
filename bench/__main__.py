"""``python -m bench``: measure, write, show."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import report
from kestrel_cli.errors import CommandFailed

AREAS = ("kernel", "persistence", "platform", "path")
LONG_AREAS = ("recovery", "memory", "ibkr")
"""Measured only when they are named."""
EXAMPLES = """
examples:
  python -m bench
      every area but the long ones; some fifteen minutes; one JSON file for each in var/bench/
  python -m bench --area kernel --quick
      seconds, and only good enough to see that it runs
  python -m bench --area kernel --without-peers
      nothing is installed into .venv-bench, and the peers' figures are absent
  python -m bench --area path --area platform --out /tmp/figures
      two areas, elsewhere
  python -m bench --area recovery --area memory
      a million journal entries, a million orders: some ten minutes

areas:
  kernel       nanoseconds per input in C and from Python, beside plain Python, vnpy and NautilusTrader
  persistence  rows a second through the service's own writer, beside COPY and an idempotent insert
  platform     start-up time, processor time at rest and memory of the whole platform
  path         intent to venue, hop by hop, beside as many bare durable publishes on the same NATS server; the kernel
               service's inputs a second, and its recovery
  recovery     a kernel partition from a million journal entries, with a snapshot and without (only when named)
  memory       what a million closed orders leave behind in the kernel service's core (only when named)
  ibkr         the connector for Interactive Brokers against the TWS simulator, beside ib_insync alone; its recovery
               with 1,000 open orders and 10,000 executions (only when named)

Everything runs on this machine's loopback address and below a temporary folder. docs/benchmarks.md says what each
figure means. Measure on a quiet machine; compare ratios before times.
"""
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Returns 0, 1 when an area could not be measured, 2 for unusable options, 130 after Ctrl-C."""
    options = _parser().parse_args(argv)
    failed = []
    try:
        for area in dict.fromkeys(options.area or AREAS):
            about = report.surroundings()
            module = importlib.import_module(f"bench.{area}")
            measure: Callable[..., dict[str, Any]] = module.measure
            choices = {"peers": not options.without_peers} if area == "kernel" else {}
            try:
                figures = measure(quick=options.quick, **choices)
            except (CommandFailed, AssertionError, OSError, RuntimeError) as error:
                print(f"bench: {area} was not measured: {error or type(error).__name__}", file=sys.stderr)
                failed.append(area)
                continue
            about["hardware"]["load_average_after"] = report.load_average()
            path = report.write(area, {"quick": options.quick, **figures}, about, options.out)
            if hasattr(module, "show"):
                module.show(figures, path)
            else:
                report.show(area, figures, path)
    except KeyboardInterrupt:
        print("bench: interrupted; everything it had started is stopped", file=sys.stderr)
        return INTERRUPTED
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Benchmarks that print ratios, each against a floor measured in the same run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--area",
        action="append",
        choices=(*AREAS, *LONG_AREAS),
        help="what to measure; repeatable (default: all but the long ones)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it runs, not to compare")
    parser.add_argument("--without-peers", action="store_true", help="kernel: measure neither vnpy nor NautilusTrader")
    parser.add_argument(
        "--out", type=Path, default=Path("var/bench"), help="folder of the JSON files (default %(default)s)"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
