"""The kernel's books: orders, positions, accounts; and the ways out: exit, cancel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from kestrel.admin.v1 import kernel_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel_cli import clients, options, output
from kestrel_cli.commands.lookup import by_beginning, request_id
from kestrel_domain.numbers import Number

_WORKING = (state_pb2.ORDER_LIFE_PENDING_NEW, state_pb2.ORDER_LIFE_OPEN)


def register(app: typer.Typer) -> None:
    app.command()(orders)
    app.command()(positions)
    app.command()(account)
    app.command(name="exit")(exit_trade)
    app.command()(cancel)


def orders(
    account: options.AnyAccount = "",
    everything: options.Everything = False,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Orders at work, as the kernel knows them; with --all, the last ones of every slot.

    [dim]Examples:[/]
      kestrel orders
      kestrel orders --all --json
    """
    with clients.connect(data_dir, operator) as platform:
        found = [
            row for row in orders_of(_slots(platform, account, everything=True)) if everything or is_working(row[2])
        ]
    if json:
        output.print_json(
            {
                "orders": [
                    {"account": name, "trade_id": slot.trade_id, "purpose": purpose, **output.plain(order)}
                    for name, slot, order, purpose in found
                ]
            }
        )
        return
    rows = [_order_row(*each) for each in found]
    columns = (
        "order",
        "trade",
        "account",
        "for",
        "side",
        "qty",
        "filled",
        "symbol",
        "type",
        "avg price",
        "life",
        "sent",
    )
    output.show(
        rows,
        output.table("Orders", columns, rows, right=("qty", "filled", "avg price")),
        empty="No order is at work.",
    )


def positions(
    account: options.AnyAccount = "",
    everything: options.Everything = False,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Open trades with what they made and cost; with --all, also the last trade of each slot.

    [dim]Examples:[/]
      kestrel positions
      kestrel positions --all
    """
    with clients.connect(data_dir, operator) as platform:
        accounts = _slots(platform, account, everything=everything)
    found = [(each.account, slot) for each in accounts for slot in each.slots if slot.trade_id]
    if json:
        output.print_json({"positions": [{"account": name, **output.plain(slot)} for name, slot in found]})
        return
    rows = [_position_row(name, slot) for name, slot in found]
    columns = (
        "trade", "account", "strategy", "symbol", "qty", "entry", "mark", "unrealized", "realized", "fees", "stage",
        "lifecycle", "opened",
    )  # fmt: skip
    right = ("qty", "entry", "mark", "unrealized", "realized", "fees")
    output.show(rows, output.table("Positions", columns, rows, right=right), empty="No position is open.")
    if rows:
        output.console().print("[dim]kestrel exit <trade> --reason ...  leaves one[/]")


def account(
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Accounts: capital, results, exposure, and how our ledger compares with the venue's.

    [dim]Example:[/]
      kestrel account --json | jq -r '.accounts[].equity'
    """
    with clients.connect(data_dir, operator) as platform:
        answer = platform.stub("kernel").ListAccounts(kernel_pb2.ListAccountsRequest(), timeout=clients.TIMEOUT_S)
    if json:
        output.print_json(answer)
        return
    rows = [_account_row(each) for each in answer.accounts]
    columns = (
        "account", "equity", "capital", "from", "realized", "unrealized", "fees", "exposure", "working", "slots",
        "ledger", "delta", "entries",
    )  # fmt: skip
    right = ("equity", "capital", "realized", "unrealized", "fees", "exposure", "working", "delta")
    owns_all = all(partition.owned for partition in answer.partitions)
    empty = (
        "The kernel knows no account yet." if owns_all else "Whoever does not own a partition knows no account of it."
    )
    output.show(rows, output.table("Accounts", columns, rows, right=right), empty=empty)
    partitions = [_partition_row(each) for each in answer.partitions]
    named = ("partition", "", "epoch", "journal", "inbox", "lag")
    output.console().print(output.table("Partitions", named, partitions, right=("epoch", "journal", "inbox", "lag")))


def exit_trade(
    trade: Annotated[str, typer.Argument(help="The trade's id, or a unique beginning of it.")],
    reason: options.Reason,
    qty: Annotated[str, typer.Option("--qty", help="How much; all that is left when not given.")] = "",
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Leave a trade, whole or in part. Needs no approval: the trade's own warrant is the permission.

    [dim]Examples:[/]
      kestrel exit k3f8 --reason "seen enough"
      kestrel exit k3f8 --qty 50 --reason "half off"
    """
    with clients.connect(data_dir, operator) as platform:
        open_trades = [(a.account, slot) for a in _slots(platform, "", everything=False) for slot in a.slots]
        name, slot = by_beginning(
            open_trades, trade, lambda each: each[1].trade_id, what="open trade", listed_by="kestrel positions"
        )
        request = kernel_pb2.RequestExitRequest(
            request_id=request_id(), account=name, trade_id=slot.trade_id, reason=reason
        )
        if qty:
            scale = slot.instrument.qty_scale
            request.order_qty.CopyFrom(Number.parse(qty, scale=scale, field="qty").message())
        answer = platform.stub("kernel").RequestExit(request, timeout=clients.TIMEOUT_S)
    if json:
        output.print_json(answer)
        return
    output.console().print(
        f"[green]✓[/] asked to leave {escape(slot.trade_id)} ({escape(slot.instrument.symbol)});"
        f" inbox sequence {answer.inbox_sequence}"
    )


def cancel(
    order: Annotated[str, typer.Argument(help="The client order id, or a unique beginning of it.")],
    reason: options.Reason,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Cancel an order at work. A fill may still race it, and counts.

    [dim]Example:[/]
      kestrel cancel ksab12 --reason "stale"
    """
    with clients.connect(data_dir, operator) as platform:
        working = [row for row in orders_of(_slots(platform, "", everything=False)) if is_working(row[2])]
        name, _, found, _ = by_beginning(
            working, order, lambda each: each[2].client_order_id, what="working order", listed_by="kestrel orders"
        )
        answer = platform.stub("kernel").CancelOrder(
            kernel_pb2.CancelOrderRequest(
                request_id=request_id(), account=name, client_order_id=found.client_order_id, reason=reason
            ),
            timeout=clients.TIMEOUT_S,
        )
    if json:
        output.print_json(answer)
        return
    output.console().print(f"[green]✓[/] asked to cancel {escape(found.client_order_id)}")


OrderRow = tuple[str, state_pb2.SlotSnapshot, state_pb2.OrderView, str]


def orders_of(accounts: list[kernel_pb2.AccountSlots]) -> Iterator[OrderRow]:
    """Account, slot, order and purpose of every order that slots hold."""
    for each in accounts:
        for slot in each.slots:
            purposes = ("entry", "exit", "stop", "target")
            for order, purpose in zip((slot.entry, slot.exit, slot.stop, slot.target), purposes, strict=True):
                if order.client_order_id:
                    yield each.account, slot, order, purpose


def is_working(order: state_pb2.OrderView) -> bool:
    return order.life in _WORKING or order.in_doubt


def _slots(platform: clients.Platform, account: str, *, everything: bool) -> list[kernel_pb2.AccountSlots]:
    answer = platform.stub("kernel").ListSlots(
        kernel_pb2.ListSlotsRequest(account=account, all=everything), timeout=clients.TIMEOUT_S
    )
    for note in not_whole(answer.partitions):
        output.console(stderr=True).print(f"[yellow]not whole:[/] {note}; see kestrel account")
    return list(answer.accounts)


def not_whole(partitions: Iterable[kernel_pb2.PartitionState]) -> list[str]:
    """What an answer of the kernel cannot speak of: an empty table would look as if there were nothing."""
    known = list(partitions)
    elsewhere = [str(each.partition) for each in known if not each.owned]
    behind = sum(each.lag for each in known if each.owned)
    notes = [f"this kernel does not own partition {', '.join(elsewhere)}"] if elsewhere else []
    return notes + ([f"{behind} inputs are stored that it has not read yet"] if behind else [])


def _order_row(
    account_name: str, slot: state_pb2.SlotSnapshot, order: state_pb2.OrderView, purpose: str
) -> tuple[str, ...]:
    life = output.word(output.enum_name(state_pb2.OrderLife, order.life))
    if order.in_doubt:
        life += " [bold red]in doubt[/]"
    if order.cancel_pending:
        life += " [yellow]cancel asked[/]"
    return (
        output.short_id(order.client_order_id),
        output.short_id(slot.trade_id),
        escape(account_name),
        purpose,
        output.side(order.side),
        output.number(order, "order_qty"),
        output.number(order, "cum_qty"),
        escape(slot.instrument.symbol),
        output.enum_name(common_pb2.OrderType, order.order_type),
        output.number(order, "average_price", scale=4),
        life,
        output.moment(order.submitted_at_ns),
    )


def _position_row(account_name: str, slot: state_pb2.SlotSnapshot) -> tuple[str, ...]:
    lifecycle = output.enum_name(state_pb2.Lifecycle, slot.lifecycle)
    return (
        output.short_id(slot.trade_id),
        escape(account_name),
        escape(slot.strategy),
        escape(slot.instrument.symbol),
        output.number(slot, "qty", signed=True),
        output.number(slot, "entry_price", scale=4),
        output.number(slot, "mark", scale=4),
        output.number(slot, "unrealized_pnl", signed=True, scale=2),
        output.number(slot, "realized_pnl", signed=True, scale=2),
        output.number(slot, "fees", scale=2),
        output.enum_name(state_pb2.SlotStage, slot.stage),
        output.word(lifecycle),
        output.moment(slot.opened_at_ns),
    )


def _partition_row(state: kernel_pb2.PartitionState) -> tuple[str, ...]:
    if not state.owned:
        return str(state.partition), "[yellow]not owned[/]", "-", "-", "-", "-"
    places = (state.epoch, state.journal_sequence, state.inbox_sequence, state.lag)
    return str(state.partition), "[green]owned[/]", *map(str, places)


def _account_row(snapshot: state_pb2.AccountSnapshot) -> tuple[str, ...]:
    frozen = f"[bold red]frozen[/]: {escape(snapshot.freeze_reason)}" if snapshot.entries_frozen else "[green]open[/]"
    return (
        escape(snapshot.account),
        output.number(snapshot, "equity", scale=2),
        output.number(snapshot, "capital", scale=2),
        output.enum_name(state_pb2.CapitalSource, snapshot.capital_source).lower(),
        output.number(snapshot, "realized_pnl", signed=True, scale=2),
        output.number(snapshot, "unrealized_pnl", signed=True, scale=2),
        output.number(snapshot, "fees", scale=2),
        output.number(snapshot, "gross_exposure", scale=2),
        output.number(snapshot, "working_exposure", scale=2),
        f"{snapshot.open_slot_count} of {snapshot.max_slots}",
        output.word(output.enum_name(state_pb2.LedgerStatus, snapshot.ledger_status)),
        output.number(snapshot, "ledger_delta", signed=True, scale=2),
        frozen,
    )


def slots_of(platform: clients.Platform, account: str = "", *, everything: bool = False) -> list[Any]:
    """Slots with their account's name, for other commands."""
    return [(a.account, slot) for a in _slots(platform, account, everything=everything) for slot in a.slots]
