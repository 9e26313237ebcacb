"""Reconciliation: runs, breaks, and how a person ends one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape

from kestrel.admin.v1 import reconciler_pb2
from kestrel.common.v1 import common_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel_cli import clients, options, output
from kestrel_cli.commands.lookup import by_beginning, request_id

_RUNS_MAX = 1_000
"""As many as the reconciler gives: the last run of a quiet account is behind many of a busy one."""

recon_app = typer.Typer(no_args_is_help=True, help="Our books against the broker's: runs, breaks, resolutions.")


class Resolution(StrEnum):
    """How a break ended."""

    BROKER = "broker-corrected"
    MACHINE = "machine-corrected"
    ACKNOWLEDGED = "acknowledged"

    @property
    def value_sent(self) -> reconcile_pb2.ResolutionKind.ValueType:
        return {
            Resolution.BROKER: reconcile_pb2.RESOLUTION_KIND_BROKER_CORRECTED,
            Resolution.MACHINE: reconcile_pb2.RESOLUTION_KIND_MACHINE_CORRECTED,
            Resolution.ACKNOWLEDGED: reconcile_pb2.RESOLUTION_KIND_ACKNOWLEDGED,
        }[self]


def register(app: typer.Typer) -> None:
    app.add_typer(recon_app, name="recon")


@recon_app.command("runs")
def runs(
    account: options.AnyAccount = "",
    limit: options.Limit = 20,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """The latest comparisons of our books with the broker's.

    [dim]Example:[/]
      kestrel recon runs -n 5
    """
    with clients.connect(data_dir, operator) as platform:
        answer = platform.stub("reconciler").ListRuns(
            reconciler_pb2.ListRunsRequest(account=account, limit=limit), timeout=clients.TIMEOUT_S
        )
    if json:
        output.print_json(answer)
        return
    _show_runs(list(answer.runs))


@recon_app.command("breaks")
def breaks(
    account: options.AnyAccount = "",
    everything: options.Everything = False,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Differences between the books that a person has to end.

    [dim]Example:[/]
      kestrel recon breaks --all
    """
    with clients.connect(data_dir, operator) as platform:
        reconciler = platform.stub("reconciler")
        answer = reconciler.ListBreaks(
            reconciler_pb2.ListBreaksRequest(account=account, all=everything), timeout=clients.TIMEOUT_S
        )
        if json:
            output.print_json(answer)
            return
        compared = reconciler.ListRuns(
            reconciler_pb2.ListRunsRequest(account=account, limit=_RUNS_MAX), timeout=clients.TIMEOUT_S
        )
    rows = [_break_row(each) for each in answer.breaks]
    columns = (
        "break",
        "severity",
        "account",
        "kind",
        "symbol",
        "we say",
        "broker says",
        "opened",
        "resolved",
        "message",
    )
    output.show(rows, output.table("Breaks", columns, rows), empty=no_break(compared.runs))
    if any(not each.HasField("resolution") for each in answer.breaks):
        output.console().print('[dim]kestrel recon resolve <break> --how broker-corrected --notes "..." --as risk[/]')


@recon_app.command("now")
def now(
    account: options.Account = options.PLATFORM_ACCOUNT,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Ask the venue again and compare now.

    [dim]Example:[/]
      kestrel recon now
    """
    with clients.connect(data_dir, operator) as platform:
        answer = platform.stub("reconciler").RunNow(
            reconciler_pb2.RunNowRequest(request_id=request_id(), account=platform.account(account)),
            timeout=clients.TIMEOUT_S,
        )
    if json:
        output.print_json(answer)
        return
    _show_runs([answer.run])


@recon_app.command("resolve")
def resolve(
    break_id: Annotated[str, typer.Argument(help="The break's id, or a unique beginning of it.")],
    how: Annotated[Resolution, typer.Option("--how", help="What ended it.")],
    notes: Annotated[str, typer.Option("--notes", help="What was found and done; kept in the audit trail.")],
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Record how a break ended. It changes no book. For risk officers.

    [dim]Example:[/]
      kestrel recon resolve b7c1 --how broker-corrected --notes "broker busted the trade" --as risk
    """
    with clients.connect(data_dir, operator) as platform:
        reconciler = platform.stub("reconciler")
        listed = reconciler.ListBreaks(reconciler_pb2.ListBreaksRequest(), timeout=clients.TIMEOUT_S)
        found = by_beginning(
            listed.breaks, break_id, lambda each: each.break_id, what="open break", listed_by="kestrel recon breaks"
        )
        answer = reconciler.Resolve(
            reconciler_pb2.ResolveRequest(
                request_id=request_id(), break_id=found.break_id, kind=how.value_sent, notes=notes
            ),
            timeout=clients.TIMEOUT_S,
        )
    if json:
        output.print_json(answer)
        return
    ended = answer.resolved_break.resolution
    output.console().print(
        f"[green]✓[/] break {escape(found.break_id)} resolved by {escape(ended.resolved_by.id)}: {how.value}"
    )


def no_break(runs: Iterable[reconcile_pb2.Run]) -> str:
    """Without a break the books may agree, or nobody could compare them. ``runs``: newest first."""
    newest: dict[str, reconcile_pb2.Run] = {}
    for run in runs:
        newest.setdefault(run.account, run)
    if not newest:
        return "No open break, and no comparison yet: whether the books agree is not known."
    unproven = [
        f"{run.account} was {output.enum_name(reconcile_pb2.RunVerdict, run.verdict)} {' '.join(run.reasons)}".rstrip()
        for run in newest.values()
        if run.verdict != reconcile_pb2.RUN_VERDICT_MATCHED
    ]
    if unproven:
        return f"No open break, but the last comparison proves nothing: {'; '.join(unproven)}. See kestrel recon runs."
    oldest_ns = min(run.started_at_ns for run in newest.values())
    return f"No open break: the books agreed when they were compared, {output.age(time.time_ns() - oldest_ns)}."


def _show_runs(found: list[reconcile_pb2.Run]) -> None:
    rows = [
        (
            output.short_id(run.run_id),
            escape(run.account),
            output.enum_name(reconcile_pb2.RunTrigger, run.trigger),
            output.word(output.enum_name(reconcile_pb2.RunVerdict, run.verdict)),
            output.word(output.enum_name(common_pb2.Severity, run.severity)),
            str(run.order_count),
            str(run.position_count),
            str(run.matched_count),
            f"[red]{run.unmatched_count}[/]" if run.unmatched_count else "0",
            f"[yellow]{run.suspected_count}[/]" if run.suspected_count else "0",
            output.moment(run.started_at_ns),
            escape(" ".join(run.reasons)),
        )
        for run in found
    ]
    columns = (
        "run", "account", "because", "verdict", "severity", "orders", "positions", "matched", "unmatched", "suspected",
        "started", "note",
    )  # fmt: skip
    right = ("orders", "positions", "matched", "unmatched", "suspected")
    output.show(rows, output.table("Reconciliation runs", columns, rows, right=right), empty="No run yet.")


def _break_row(each: reconcile_pb2.Break) -> tuple[str, ...]:
    resolved = "[yellow]open[/]"
    if each.HasField("resolution"):
        ended = each.resolution
        kind = output.enum_name(reconcile_pb2.ResolutionKind, ended.kind).lower()
        resolved = f"[green]{kind}[/] by {escape(ended.resolved_by.id)}"
    elif each.escalated_at_ns:
        resolved = "[bold red]escalated[/]"
    return (
        output.short_id(each.break_id),
        output.word(output.enum_name(common_pb2.Severity, each.severity)),
        escape(each.account),
        output.enum_name(reconcile_pb2.BreakKind, each.kind),
        escape(each.symbol),
        escape(each.machine_state),
        escape(each.broker_state),
        output.moment(each.opened_at_ns),
        resolved,
        escape(each.message),
    )
