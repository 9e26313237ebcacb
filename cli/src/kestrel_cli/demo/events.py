"""What the demo shows: lines of what happened, and running totals, both from the platform's own streams. Pure."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from rich.markup import escape

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2, state_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_cli import output
from kestrel_domain.numbers import Number

LINES_KEPT = 400
_TROUBLED = (state_pb2.LIFECYCLE_REJECTED, state_pb2.LIFECYCLE_STALLED)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. ``text`` carries markup."""

    time_ns: int
    kind: str
    text: str


@dataclass(slots=True)
class Totals:
    """Running totals for the panel. The report's figures are computed again, from the three books, at the end."""

    day: str = ""
    day_index: int = 0
    day_count: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    equity: str = "-"
    exposure: str = "-"
    open_slots: int = 0
    stage: str = "starting"
    decisions: dict[str, authority_pb2.Decision] = field(default_factory=dict)
    """The newest decision on each intent."""
    decided_until_ns: dict[str, int] = field(default_factory=dict)
    """By strategy and symbol, "momentum AAPL": the market's time of the last signal."""
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))


def read_entry(entry: journal_pb2.JournalEntry, time_ns: int, totals: Totals) -> list[Line]:
    """Count one journal entry and say what is worth saying about it."""
    lines: list[Line] = []
    for command in entry.commands:
        lines += _command(command, time_ns, totals)
    for fill in entry.fills:
        lines.append(_fill(fill, time_ns, totals))
    for transition in entry.transitions:
        if transition.to_lifecycle in _TROUBLED and transition.to_lifecycle != transition.from_lifecycle:
            name = output.enum_name(state_pb2.Lifecycle, transition.to_lifecycle)
            totals.counts[f"trades {name.lower()}"] += 1
            lines.append(Line(time_ns, "order", f"trade {output.short_id(transition.trade_id)} {output.word(name)}"))
    for anomaly in entry.anomalies:
        totals.counts["anomalies"] += 1
        if anomaly.severity >= common_pb2.SEVERITY_WARNING:
            lines.append(Line(time_ns, "anomaly", f"[yellow]{escape(anomaly.code)}[/] {escape(anomaly.message)}"))
    if entry.HasField("account_after"):
        _account(entry.account_after, totals)
    return lines


def read_bead(bead: audit_pb2.Bead, time_ns: int, totals: Totals) -> list[Line]:
    """Count one bead and say what is worth saying about it."""
    totals.counts["beads"] += 1
    body = bead.WhichOneof("body")
    if body == "signal":
        action = output.enum_name(signal_pb2.SignalAction, bead.signal.action)
        totals.decided_until_ns[f"{bead.signal.strategy} {bead.signal.symbol}"] = bead.signal.market_time_ns
        totals.counts[f"signals {action}"] += 1
        if bead.signal.action == signal_pb2.SIGNAL_ACTION_HOLD:
            return []
        side = output.side(bead.signal.side) + " " if bead.signal.side else ""
        text = f"{output.word(action)} {side}{escape(bead.signal.symbol)} [dim]{escape(bead.signal.reason[:60])}[/]"
        return [Line(time_ns, "signal", text)]
    if body == "decision":
        return [_decision(bead.decision, time_ns, totals)]
    if body == "token":
        totals.counts[f"tokens {output.enum_name(authority_pb2.TokenEventKind, bead.token.kind)}"] += 1
        if bead.token.kind in (authority_pb2.TOKEN_EVENT_KIND_REJECTED, authority_pb2.TOKEN_EVENT_KIND_EXPIRED):
            return [Line(time_ns, "token", f"[red]refused[/] {escape(bead.token.reason.message)}")]
        return []
    if body == "mandate":
        what = "[red]revoked[/]" if bead.mandate.revoked_at_ns else "[green]granted[/]"
        return [Line(time_ns, "mandate", f"{what} for {escape(bead.mandate.strategy)} by {escape(bead.actor.id)}")]
    if body == "kill":
        target = bead.kill.target or "everything"
        return [Line(time_ns, "kill", f"[bold red]kill switch[/] {escape(target)} by {escape(bead.actor.id)}")]
    if body in ("drift", "resolution"):
        return [_break(bead, body, time_ns, totals)]
    if body == "run":
        verdict = output.enum_name(reconcile_pb2.RunVerdict, bead.run.verdict)
        totals.counts[f"runs {verdict}"] += 1
        if bead.run.verdict == reconcile_pb2.RUN_VERDICT_BROKEN:
            return [Line(time_ns, "recon", f"run {output.word(verdict)}: {bead.run.unmatched_count} differ")]
    return []


def read_alert(alert: audit_pb2.Alert, time_ns: int, totals: Totals) -> list[Line]:
    totals.counts["alerts"] += 1
    severity = output.word(output.enum_name(common_pb2.Severity, alert.severity))
    return [Line(time_ns, "alert", f"{severity} {escape(alert.reason)}: {escape(alert.message[:100])}")]


_PURPOSES = {
    journal_pb2.COMMAND_KIND_SUBMIT_EXIT: ("exits", "[magenta]exit[/]"),
    journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE: ("protective orders", "[cyan]protects[/]"),
}


def _command(command: journal_pb2.VenueCommand, time_ns: int, totals: Totals) -> list[Line]:
    if command.kind == journal_pb2.COMMAND_KIND_CANCEL:
        totals.counts["cancels"] += 1
        return [Line(time_ns, "order", f"cancel {output.short_id(command.client_order_id)}")]
    counted, purpose = _PURPOSES.get(command.kind, ("entries", "entry"))
    totals.counts[counted] += 1
    text = f"{purpose} {output.side(command.side)} {Number.of(command.order_qty)} {escape(command.instrument.symbol)}"
    return [Line(time_ns, "order", f"{text} [dim]{output.short_id(command.client_order_id)}[/]")]


def _fill(fill: journal_pb2.BookedFill, time_ns: int, totals: Totals) -> Line:
    totals.counts["fills"] += 1
    text = f"{output.side(fill.side)} {Number.of(fill.last_qty)} {escape(fill.symbol)}"
    text += f" @ {output.number(fill, 'last_price')}"
    if fill.is_exit:
        text += f" pnl {output.number(fill, 'realized_pnl', signed=True, scale=2)}"
    return Line(time_ns, "fill", text)


def _decision(decision: authority_pb2.Decision, time_ns: int, totals: Totals) -> Line:
    verdict = output.enum_name(authority_pb2.Verdict, decision.verdict)
    totals.decisions[decision.intent_id] = decision
    totals.counts[f"decisions {verdict}"] += 1
    by = f"mandate {decision.mandate_id[:8]}" if decision.mandate_id else decision.decided_by.id
    text = f"{output.word(verdict)} {escape(decision.symbol)} [dim]by {escape(by)}[/]"
    if decision.verdict == authority_pb2.VERDICT_DENIED:
        blocking = [c.reason for c in decision.checks if c.verdict >= authority_pb2.CHECK_VERDICT_BLOCK]
        text += f" [red]{escape(', '.join(blocking) or decision.reason)}[/]"
    return Line(time_ns, "decision", text)


def _break(bead: audit_pb2.Bead, body: str, time_ns: int, totals: Totals) -> Line:
    if body == "drift":
        totals.counts["breaks"] += 1
        each = bead.drift
        said = f"we: {escape(each.machine_state)}, broker: {escape(each.broker_state)}"
        return Line(time_ns, "recon", f"[bold red]BREAK[/] {escape(each.symbol)} {said}")
    totals.counts["breaks resolved"] += 1
    each = bead.resolution
    return Line(
        time_ns, "recon", f"[green]resolved[/] {escape(each.symbol)} by {escape(each.resolution.resolved_by.id)}"
    )


def _account(account: state_pb2.AccountSnapshot, totals: Totals) -> None:
    totals.equity = output.number(account, "equity", scale=2)
    totals.exposure = output.number(account, "gross_exposure", scale=2)
    totals.open_slots = account.open_slot_count
