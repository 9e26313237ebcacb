"""``python -m tests.acceptance``: run the acceptance cards against a venue, simulated or real."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.acceptance.card import all_cards
from tests.acceptance.places import PaperPlace, Place, RealPlace, TwsPlace
from tests.acceptance.run import FAILED, Result, be_quiet, run_cards


def main() -> int:
    options = _parser().parse_args()
    be_quiet()
    cards = [card for card in all_cards() if not options.only or card.card_id in options.only.split(",")]
    if options.list:
        for card in cards:
            print(f"{card.card_id}  {card.title}\n     given {card.precondition}\n     when  {card.action}")
            print(f"     then  {card.expected}")
        return 0
    with tempfile.TemporaryDirectory(prefix="kestrel-acceptance-") as folder:
        tell = _say_nothing if options.json else _say
        results = asyncio.run(run_cards(_place(options, Path(folder)), cards, tell))
    if options.json:
        print(json.dumps([asdict(result) for result in results]))
    failed = sum(result.outcome == FAILED for result in results)
    if not options.json:
        left_out = sum(bool(result.reason) for result in results) - failed
        print(f"{len(results) - failed - left_out} passed, {failed} failed, {left_out} left out")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance", description=__doc__)
    parser.add_argument("--venue", choices=["paper", "tws", "ibkr"], default="tws", help="tws: our simulator")
    parser.add_argument("--library", choices=["ib_insync", "ib_async"], default="ib_insync")
    parser.add_argument("--host", default="127.0.0.1", help="of a real TWS or IB Gateway")
    parser.add_argument("--port", type=int, default=4002)
    parser.add_argument("--account", default="", help="the account there; a paper account begins with DU")
    parser.add_argument("--symbol", default="SPY", help="what is traded there")
    parser.add_argument("--trade", action="store_true", help="also cards whose orders are filled, at a real venue")
    parser.add_argument("--only", default="", help="card ids, with commas between them")
    parser.add_argument("--list", action="store_true", help="show the cards and run none")
    parser.add_argument("--json", action="store_true", help="results for programs")
    return parser


def _place(options: argparse.Namespace, folder: Path) -> Place:
    if options.venue == "paper":
        return PaperPlace(folder / "paper")
    if options.venue == "tws":
        return TwsPlace(folder / "tws", options.library)
    if not options.account.startswith(("DU", "DF")):
        sys.exit("--account: only a paper account (DU... or DF...) is accepted: cards send orders")
    return RealPlace(options.host, options.port, options.account, options.symbol, options.library, options.trade)


def _say(result: Result) -> None:
    print(f"{result.card_id}  {result.outcome:<8} {result.took_s:5.1f} s  {result.title}", flush=True)
    if result.reason:
        print("     " + result.reason.replace("\n", "\n     "), flush=True)


def _say_nothing(result: Result) -> None:
    """Programs read the whole at the end."""


if __name__ == "__main__":
    sys.exit(main())
