"""What strategies see, and a signal by hand."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape

from kestrel.admin.v1 import policy_pb2
from kestrel.common.v1 import common_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_cli import clients, options, output
from kestrel_cli.commands.lookup import request_id
from kestrel_cli.errors import CommandFailed
from kestrel_domain.identifiers import checked_symbol, derived_id
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import to_text

signal_app = typer.Typer(no_args_is_help=True, help="Signals: what strategies see, and one by hand.")

MANUAL_STRATEGY = "manual"


class Direction(StrEnum):
    """What a signal by hand may ask for."""

    BUY = "buy"
    SELL = "sell"
    EXIT = "exit"


def register(app: typer.Typer) -> None:
    app.add_typer(signal_app, name="signal")


@signal_app.command("list")
def list_signals(
    limit: options.Limit = 20,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """The latest signals, also those that said HOLD.

    [dim]Example:[/]
      kestrel signal list -n 50
    """
    with clients.connect(data_dir, operator) as platform:
        answer = platform.stub("policy").ListSignals(
            policy_pb2.ListSignalsRequest(limit=limit), timeout=clients.TIMEOUT_S
        )
    if json:
        output.print_json(answer)
        return
    rows = [
        (
            output.short_id(each.signal_id),
            escape(each.strategy),
            escape(each.symbol),
            output.word(output.enum_name(signal_pb2.SignalAction, each.action)),
            output.side(each.side),
            f"{each.confidence:.2f}",
            output.number(each, "reference_price"),
            to_text(each.market_time_ns)[:10],
            escape(each.reason),
        )
        for each in answer.signals
    ]
    columns = ("signal", "strategy", "symbol", "action", "side", "confidence", "price", "market day", "note")
    output.show(
        rows,
        output.table("Signals", columns, rows, right=("confidence", "price")),
        empty="No signal yet: policy decides when bars arrive.",
    )


@signal_app.command("submit")
def submit(
    direction: Annotated[Direction, typer.Argument(help="What to do.")],
    symbol: Annotated[str, typer.Argument(help="In what.")],
    reason: options.Reason,
    confidence: Annotated[float, typer.Option("--confidence", min=0.0, max=1.0, help="How far to trust it.")] = 0.5,
    price: Annotated[str, typer.Option("--price", help="Reference price; the last bar's when not given.")] = "",
    strategy: Annotated[str, typer.Option("--strategy", help="On whose behalf.")] = MANUAL_STRATEGY,
    bracket: Annotated[
        bool, typer.Option("--bracket", help="Place stop and target at the venue, together with the entry.")
    ] = False,
    account: options.Account = options.PLATFORM_ACCOUNT,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """A signal by hand. It is sized and proposed like a strategy's own, and waits for an approver.

    [dim]Examples:[/]
      kestrel signal submit buy AAPL --confidence 0.7 --reason "breakout"
      kestrel signal submit exit AAPL --reason "target near"
    """
    signal = make_signal(direction, symbol, reason, confidence=confidence, price=price, strategy=strategy)
    with clients.connect(data_dir, operator) as platform:
        answer = platform.stub("policy").SubmitSignal(
            policy_pb2.SubmitSignalRequest(
                request_id=request_id(), account=platform.account(account), signal=signal, bracket=bracket
            ),
            timeout=clients.TIMEOUT_S,
        )
    if json:
        output.print_json(answer)
    if not answer.intent_id and direction is not Direction.EXIT:
        raise CommandFailed(
            f"the signal led to no intent: {answer.reason or 'no reason was given'}",
            next_step="see `kestrel signal list`, `kestrel positions` and `kestrel account`",
        )
    if not json:
        what = f"intent [bold]{escape(answer.intent_id)}[/]" if answer.intent_id else escape(answer.reason) or "taken"
        output.console().print(f"[green]✓[/] signal {escape(answer.signal_id)}: {what}")
        if answer.intent_id:
            output.console().print(f"[dim]approve it: kestrel approve {escape(answer.intent_id[:10])} --as risk[/]")


def make_signal(
    direction: Direction,
    symbol: str,
    reason: str,
    *,
    confidence: float = 0.5,
    price: str = "",
    strategy: str = MANUAL_STRATEGY,
) -> signal_pb2.Signal:
    """The signal message; its id follows from a new request id, because a person may say the same twice."""
    now_ns = time.time_ns()
    signal = signal_pb2.Signal(
        signal_id=derived_id("signal", strategy, symbol.upper(), request_id()),
        strategy=strategy,
        symbol=checked_symbol("symbol", symbol.upper()),
        action=signal_pb2.SIGNAL_ACTION_EXIT if direction is Direction.EXIT else signal_pb2.SIGNAL_ACTION_ENTER,
        confidence=confidence,
        market_time_ns=now_ns,
        created_at_ns=now_ns,
        reason=reason,
    )
    if direction is not Direction.EXIT:
        signal.side = common_pb2.SIDE_BUY if direction is Direction.BUY else common_pb2.SIDE_SELL
    if price:
        signal.reference_price.CopyFrom(Number.parse(price, field="price").message())
    return signal
