"""The record: beads, the proof that it is whole, one order's way through it, alerts, parked messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn

from kestrel.admin.v1 import persistence_pb2, status_pb2
from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_cli import clients, options, output
from kestrel_cli.errors import REFUSED, CommandFailed

_BAR_WIDTH = 30
_BAR_BEGINS_NS = 10_000
_VERIFY_TIMEOUT_S = 300.0
_LAG = "lag."

audit_app = typer.Typer(no_args_is_help=True, help="The proof that the record is whole.")


def register(app: typer.Typer) -> None:
    app.command()(beads)
    app.add_typer(audit_app, name="audit")
    app.command()(trace)
    app.command()(alerts)
    app.command()(parked)


def beads(
    account: options.AnyAccount = "",
    kind: Annotated[
        str, typer.Option("--kind", "-k", help="decision, token, mandate, kill, drift, run, signal ...")
    ] = "",
    limit: options.Limit = 20,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """The audit trail's beads, newest first.

    [dim]Examples:[/]
      kestrel beads --kind token
      kestrel beads --kind decision -n 100 --json
    """
    with clients.connect(data_dir, operator) as platform:
        _note_if_behind(platform)
        answer = platform.stub("persistence").ListBeads(
            persistence_pb2.ListBeadsRequest(account=account, kind=kind, limit=limit), timeout=clients.TIMEOUT_S
        )
    if json:
        output.print_json(answer)
        return
    rows = [
        (
            str(each.chain_sequence),
            each.chain_hash.hex()[:8],
            output.moment(each.bead.created_at_ns),
            escape(each.bead.account or "_"),
            each.bead.WhichOneof("body") or "?",
            escape(each.bead.actor.id),
            describe_bead(each.bead),
        )
        for each in answer.beads
    ]
    columns = ("#", "hash", "when", "account", "kind", "by", "message")
    output.show(rows, output.table("Beads", columns, rows, right=("#",)), empty="No bead yet.")


@audit_app.command("verify")
def verify(
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Recompute every chain from the database and from the streams, and compare. Exit code 1 when anything is wrong.

    [dim]Example:[/]
      kestrel audit verify && echo "the record is whole"
    """
    with clients.connect(data_dir, operator) as platform, _busy("recomputing every chain", quiet=json):
        _note_if_behind(platform)
        answer = platform.stub("persistence").VerifyAudit(
            persistence_pb2.VerifyAuditRequest(), timeout=_VERIFY_TIMEOUT_S
        )
    if json:
        output.print_json(answer)
    else:
        rows = [
            (
                "[green]✓ verified[/]" if chain.verified else "[bold red]✗ broken[/]",
                escape(chain.name),
                str(chain.database_count),
                str(chain.stream_count),
                chain.database_head.hex()[:16],
                chain.stream_head.hex()[:16],
                f"at {chain.first_bad_sequence}: {escape(chain.problem)}" if chain.problem else "",
            )
            for chain in answer.chains
        ]
        columns = ("", "chain", "in database", "in stream", "database head", "stream head", "note")
        output.console().print(output.table("Chains", columns, rows, right=("in database", "in stream")))
    if not answer.verified:
        raise CommandFailed(
            "the record is not verified",
            next_step="stop trading (`kestrel kill`), keep both stores as they are, and compare from that sequence on",
            code=REFUSED,
        )


def trace(
    order: Annotated[str, typer.Argument(help="A client order, intent, trade or trace id, or a unique beginning.")],
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """One order's way, from signal to database row, with the time of each hop.

    [dim]Example:[/]
      kestrel trace ksab12
    """
    with clients.connect(data_dir, operator) as platform:
        _note_if_behind(platform)
        answer = platform.stub("persistence").GetTrace(
            persistence_pb2.GetTraceRequest(id=order.rstrip("…")), timeout=clients.TIMEOUT_S
        )
    if json:
        output.print_json(answer)
        return
    longest = max((hop.elapsed_ns for hop in answer.hops), default=0)
    rows = [
        (
            output.clock(hop.at_ns),
            output.duration(hop.elapsed_ns) if hop.elapsed_ns else "",
            bar(hop.elapsed_ns, longest),
            escape(hop.service),
            escape(hop.event),
            f"{escape(hop.stream)} {hop.sequence}" if hop.stream else "",
            escape(hop.detail),
        )
        for hop in answer.hops
    ]
    title = f"Order {answer.client_order_id or '-'}  intent {answer.intent_id or '-'}  trace {answer.trace_id or '-'}"
    columns = ("at", "took", "", "service", "event", "stored as", "note")
    output.show(rows, output.table(title, columns, rows, right=("took",)), empty="Nothing is known about it yet.")
    if answer.hops:
        whole = answer.hops[-1].at_ns - answer.hops[0].at_ns
        output.console().print(f"[dim]{len(rows)} hops in {output.duration(whole)}; bars are logarithmic[/]")


def alerts(
    limit: options.Limit = 20,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """What somebody should know, newest first.

    [dim]Example:[/]
      kestrel alerts -n 5
    """
    with clients.connect(data_dir, operator) as platform:
        _note_if_behind(platform)
        answer = platform.stub("persistence").ListAlerts(
            persistence_pb2.ListAlertsRequest(limit=limit), timeout=clients.TIMEOUT_S
        )
    if json:
        output.print_json(answer)
        return
    rows = [
        (
            output.moment(each.raised_at_ns),
            output.word(output.enum_name(common_pb2.Severity, each.severity)),
            escape(each.service),
            escape(each.reason),
            escape(each.account),
            output.short_id(each.subject_id),
            escape(each.message),
        )
        for each in answer.alerts
    ]
    columns = ("raised", "severity", "service", "reason", "account", "about", "message")
    output.show(rows, output.table("Alerts", columns, rows), empty="No alert.")


def parked(
    limit: options.Limit = 20,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Messages that could not be parsed, placed or applied, and why.

    [dim]Example:[/]
      kestrel parked --json
    """
    with clients.connect(data_dir, operator) as platform:
        _note_if_behind(platform)
        answer = platform.stub("persistence").ListParked(
            persistence_pb2.ListParkedRequest(limit=limit), timeout=clients.TIMEOUT_S
        )
    if json:
        output.print_json(answer)
        return
    rows = [
        (
            output.moment(each.parked_at_ns),
            escape(each.service),
            f"{escape(each.stream)} {each.sequence}",
            escape(each.subject),
            escape(each.reason.reason),
            f"{escape(each.reason.field)} {escape(each.reason.value)}: {escape(each.reason.message)}",
        )
        for each in answer.parked
    ]
    columns = ("parked", "by", "message of", "subject", "reason", "message")
    output.show(rows, output.table("Parked messages", columns, rows), empty="Nothing is parked.")


def bar(value: int, longest: int) -> str:
    """A bar on a logarithmic scale from 10 µs to the longest, so that short hops show beside a long one."""
    if value <= 0:
        return ""
    whole = math.log(max(longest, 10 * _BAR_BEGINS_NS) / _BAR_BEGINS_NS)
    filled = max(round(_BAR_WIDTH * math.log(max(value, _BAR_BEGINS_NS) / _BAR_BEGINS_NS) / whole), 1)
    return f"[cyan]{'▇' * filled}[/]"


def describe_bead(bead: audit_pb2.Bead) -> str:
    """One line for a person, by kind."""
    body = bead.WhichOneof("body")
    if body == "decision":
        verdict = output.enum_name(authority_pb2.Verdict, bead.decision.verdict)
        return f"{output.word(verdict)} {escape(bead.decision.symbol)} {output.short_id(bead.decision.intent_id)}"
    if body == "token":
        kind = output.enum_name(authority_pb2.TokenEventKind, bead.token.kind)
        return f"{kind} {output.short_id(bead.token.token_id)} {escape(bead.token.reason.message)}"
    if body == "mandate":
        return f"{escape(bead.mandate.strategy)} {'revoked' if bead.mandate.revoked_at_ns else 'granted'}"
    if body == "kill":
        return f"{output.enum_name(authority_pb2.KillScope, bead.kill.scope)} {escape(bead.kill.target)}"
    if body in ("drift", "resolution"):
        each = bead.drift if body == "drift" else bead.resolution
        return f"{output.enum_name(reconcile_pb2.BreakKind, each.kind)} {escape(each.symbol)} {escape(each.message)}"
    if body == "run":
        return output.word(output.enum_name(reconcile_pb2.RunVerdict, bead.run.verdict))
    if body == "signal":
        action = output.enum_name(signal_pb2.SignalAction, bead.signal.action)
        return f"{output.word(action)} {escape(bead.signal.symbol)} {escape(bead.signal.reason)}"
    if body == "operator":
        granted = "[green]granted[/]" if bead.operator.granted else "[red]refused[/]"
        return f"{escape(bead.operator.action)} {escape(bead.operator.target)} {granted}"
    if body == "checkpoint":
        return f"{bead.checkpoint.chain_length} beads, root {bead.checkpoint.merkle_root.hex()[:12]}"
    return ""


def not_stored(figures: Mapping[str, int]) -> str:
    """What the database cannot tell of yet, by the figures of who fills it; empty: nothing that is known of."""
    behind = {name.removeprefix(_LAG): lag for name, lag in figures.items() if name.startswith(_LAG)}
    if not behind:
        return "the database is not being filled yet, or nobody knows how far it is"
    waiting = [f"{lag} of {stream}" for stream, lag in sorted(behind.items()) if lag]
    return f"stored in the streams and not in the database yet: {', '.join(waiting)}" if waiting else ""


def _note_if_behind(platform: clients.Platform) -> None:
    """Before the answer is asked for: what comes in between is in the answer, or was not there yet."""
    status = platform.status_stub("persistence").GetStatus(status_pb2.GetStatusRequest(), timeout=clients.TIMEOUT_S)
    note = not_stored(status.figures)
    if note:
        output.console(stderr=True).print(f"[yellow]not whole:[/] {note}")


def _busy(what: str, *, quiet: bool) -> Progress:
    """A spinner on standard error while something takes long."""
    progress = Progress(
        SpinnerColumn(), TextColumn(what), console=output.console(stderr=True), transient=True, disable=quiet
    )
    progress.add_task(what, total=None)
    return progress
