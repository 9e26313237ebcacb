"""Permission: what waits, yes and no, mandates, the kill switch."""

from __future__ import annotations

import re
import time
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from kestrel.admin.v1 import governance_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel_cli import clients, options, output
from kestrel_cli.commands.lookup import by_beginning, request_id
from kestrel_cli.errors import CommandFailed
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS

_PERIOD = re.compile(r"(\d{1,6})([smhd])\Z", re.ASCII)
_PERIOD_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BAR_WIDTH = 12

mandate_app = typer.Typer(no_args_is_help=True, help="Standing approvals with limits.")


class Scope(StrEnum):
    """What a kill flag covers."""

    GLOBAL = "global"
    VENUE = "venue"
    ACCOUNT = "account"
    STRATEGY = "strategy"
    SYMBOL = "symbol"

    @property
    def value_sent(self) -> authority_pb2.KillScope.ValueType:
        return authority_pb2.KillScope.Value(f"KILL_SCOPE_{self.name}")


class Level(StrEnum):
    """How hard it stops; each includes those before it."""

    BLOCK = "block"
    CANCEL = "cancel"
    FLATTEN = "flatten"

    @property
    def value_sent(self) -> authority_pb2.KillLevel.ValueType:
        names = {Level.BLOCK: "BLOCK_ENTRIES", Level.CANCEL: "CANCEL_WORKING", Level.FLATTEN: "FLATTEN"}
        return authority_pb2.KillLevel.Value(f"KILL_LEVEL_{names[self]}")


def register(app: typer.Typer) -> None:
    app.command()(inbox)
    app.command()(approve)
    app.command(name="pass")(pass_on)
    app.add_typer(mandate_app, name="mandate")
    app.command()(kill)
    app.command()(rearm)


def inbox(
    account: options.AnyAccount = "",
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """What waits for a person, oldest first.

    [dim]Examples:[/]
      kestrel inbox
      kestrel inbox --json | jq '.pending[].intent.intent_id'
    """
    with clients.connect(data_dir, operator) as platform:
        answer = platform.stub("governance").ListPending(
            governance_pb2.ListPendingRequest(account=account), timeout=clients.TIMEOUT_S
        )
    if json:
        output.print_json(answer)
        return
    rows = [_pending_row(pending) for pending in answer.pending]
    columns = (
        "intent",
        "account",
        "strategy",
        "side",
        "qty",
        "symbol",
        "price",
        "notional",
        "at stop",
        "checks",
        "expires",
    )
    output.show(
        rows,
        output.table("Waiting for a person", columns, rows, right=("qty", "price", "notional", "at stop")),
        empty="Nothing waits for a person.",
    )
    if rows:
        output.console().print("[dim]kestrel approve <intent>  ·  kestrel pass <intent>[/]")


def approve(
    intent: Annotated[str, typer.Argument(help="The intent's id, or a unique beginning of it.")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Show an intent's evidence, and approve exactly what was shown.

    [dim]Examples:[/]
      kestrel approve k3f8
      kestrel approve k3f8 --yes --reason "as discussed" --as risk
    """
    with clients.connect(data_dir, operator) as platform:
        governance = platform.stub("governance")
        pending = _find_pending(governance, intent)
        if not json:
            output.console().print(evidence(pending))
        if not yes:
            typer.confirm("Approve exactly this?", abort=True)
        answer = governance.Approve(
            governance_pb2.ApproveRequest(
                request_id=request_id(),
                intent_id=pending.intent.intent_id,
                evidence_sha256=pending.evidence_sha256,
                reason=reason,
            ),
            timeout=clients.TIMEOUT_S,
        )
    _show_decision(answer.decision, json)


def pass_on(
    intent: Annotated[str, typer.Argument(help="The intent's id, or a unique beginning of it.")],
    reason: options.Reason = "",
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Say no to an intent.

    [dim]Example:[/]
      kestrel pass k3f8 --reason "earnings tonight"
    """
    with clients.connect(data_dir, operator) as platform:
        governance = platform.stub("governance")
        pending = _find_pending(governance, intent)
        answer = governance.Pass(
            governance_pb2.PassRequest(request_id=request_id(), intent_id=pending.intent.intent_id, reason=reason),
            timeout=clients.TIMEOUT_S,
        )
    _show_decision(answer.decision, json)


@mandate_app.command("grant")
def grant(
    strategy: Annotated[str, typer.Option("--strategy", help="The strategy that may trade under it.")],
    max_order: Annotated[str, typer.Option("--max-order", help="Largest notional of one entry, such as 50000.")],
    reason: options.Reason,
    period: Annotated[str, typer.Option("--for", help="How long: 30m, 8h, 5d.")] = "8h",
    symbols: Annotated[str, typer.Option("--symbols", help="Only these, by comma; all when not given.")] = "",
    max_total: Annotated[str, typer.Option("--max-total", help="Sum of the notionals of all entries.")] = "",
    max_count: Annotated[int, typer.Option("--max-count", min=0, help="Number of entries; 0: no such limit.")] = 0,
    account: options.Account = options.PLATFORM_ACCOUNT,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Give a strategy a standing approval with limits. For risk officers.

    [dim]Example:[/]
      kestrel mandate grant --strategy momentum --max-order 50000 --max-total 500000 --for 8h -r "paper week" --as risk
    """
    now_ns = time.time_ns()
    mandate = authority_pb2.Mandate(
        strategy=strategy,
        symbols=[each.strip().upper() for each in symbols.split(",") if each.strip()],
        max_order_notional=Number.parse(max_order, field="max-order").message(),
        max_total_notional=Number.parse(max_total, field="max-total").message() if max_total else None,
        max_order_count=max_count,
        environment=common_pb2.ENVIRONMENT_PAPER,
        not_before_ns=now_ns,
        expires_at_ns=now_ns + parse_period(period) * SECOND_NS,
        reason=reason,
    )
    with clients.connect(data_dir, operator) as platform:
        mandate.account = platform.account(account)
        answer = platform.stub("governance").GrantMandate(
            governance_pb2.GrantMandateRequest(request_id=request_id(), mandate=mandate), timeout=clients.TIMEOUT_S
        )
    if json:
        output.print_json(answer)
        return
    stored = answer.mandate
    output.console().print(
        f"[green]✓[/] mandate [bold]{escape(stored.mandate_id)}[/]: {escape(stored.strategy)} on"
        f" {escape(stored.account)}, by {escape(stored.granted_by.id)}, ends {output.moment(stored.expires_at_ns)}"
    )


@mandate_app.command("list")
def list_mandates(
    everything: options.Everything = False,
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Mandates, and what was used of them.

    [dim]Example:[/]
      kestrel mandate list --all
    """
    with clients.connect(data_dir, operator) as platform:
        answer = platform.stub("governance").ListMandates(
            governance_pb2.ListMandatesRequest(all=everything), timeout=clients.TIMEOUT_S
        )
    if json:
        output.print_json(answer)
        return
    rows = [_mandate_row(use) for use in answer.mandates]
    columns = (
        "mandate",
        "strategy",
        "account",
        "symbols",
        "state",
        "orders",
        "used",
        "per order",
        "in all",
        "by",
        "ends",
    )
    output.show(
        rows,
        output.table("Mandates", columns, rows, right=("orders", "used", "per order", "in all")),
        empty="No mandate is active.",
    )


@mandate_app.command("revoke")
def revoke(
    mandate: Annotated[str, typer.Argument(help="The mandate's id, or a unique beginning of it.")],
    reason: options.Reason = "",
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Take a mandate back. What was approved under it before stays approved. For risk officers.

    [dim]Example:[/]
      kestrel mandate revoke 4f2a --reason "end of the paper week" --as risk
    """
    with clients.connect(data_dir, operator) as platform:
        governance = platform.stub("governance")
        listed = governance.ListMandates(governance_pb2.ListMandatesRequest(all=True), timeout=clients.TIMEOUT_S)
        found = by_beginning(
            listed.mandates,
            mandate,
            lambda use: use.mandate.mandate_id,
            what="mandate",
            listed_by="kestrel mandate list",
        )
        answer = governance.RevokeMandate(
            governance_pb2.RevokeMandateRequest(
                request_id=request_id(), mandate_id=found.mandate.mandate_id, reason=reason
            ),
            timeout=clients.TIMEOUT_S,
        )
    if json:
        output.print_json(answer)
        return
    output.console().print(f"[yellow]■[/] mandate {escape(answer.mandate.mandate_id)} is revoked")


def kill(
    reason: options.Reason,
    scope: Annotated[Scope, typer.Option("--scope", help="What to stop.")] = Scope.GLOBAL,
    target: Annotated[str, typer.Option("--target", help="Which venue, account, strategy or symbol.")] = "",
    level: Annotated[Level, typer.Option("--level", help="block entries; also cancel working ones; also flatten.")] = (
        Level.BLOCK
    ),
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Stop new entries, now. Exits always pass. It asks nothing: a kill switch does not wait.

    [dim]Examples:[/]
      kestrel kill --reason "feed looks wrong"
      kestrel kill --scope symbol --target AAPL --level cancel --reason "halted"
      kestrel kill --level flatten --reason "out of everything"
    """
    _require_target(scope, target)
    with clients.connect(data_dir, operator) as platform:
        answer = platform.stub("governance").Kill(
            governance_pb2.KillRequest(
                request_id=request_id(), scope=scope.value_sent, target=target, level=level.value_sent, reason=reason
            ),
            timeout=clients.TIMEOUT_S,
        )
    if json:
        output.print_json(answer)
        return
    screen = output.console()
    screen.print(f"[bold red]■ KILLED[/] {scope.value} {escape(target)}: {level.value} entries")
    screen.print(kill_flags_table(answer.flags))
    screen.print(f"[dim]two people re-arm: {_rearm_command(scope, target)}[/]")


def rearm(
    reason: options.Reason,
    scope: Annotated[Scope, typer.Option("--scope", help="The flag's scope.")] = Scope.GLOBAL,
    target: Annotated[str, typer.Option("--target", help="The flag's target.")] = "",
    json: options.Json = False,
    operator: options.Operator = options.DEFAULT_OPERATOR,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Lower a kill flag. It takes two different people: the first proposes, the second completes. For risk officers.

    [dim]Examples:[/]
      kestrel rearm --reason "feed is back" --as risk
      kestrel rearm --reason "I looked too" --as admin
    """
    _require_target(scope, target)
    with clients.connect(data_dir, operator) as platform:
        answer = platform.stub("governance").Rearm(
            governance_pb2.RearmRequest(request_id=request_id(), scope=scope.value_sent, target=target, reason=reason),
            timeout=clients.TIMEOUT_S,
        )
    if json:
        output.print_json(answer)
        return
    screen = output.console()
    if answer.completed:
        screen.print(f"[green]✓ re-armed[/] {scope.value} {escape(target)}")
    else:
        screen.print(
            f"[yellow]◐ proposed[/]: {scope.value} {escape(target)} stays killed until a second person completes it"
        )
        screen.print(f"  [dim]→ another risk officer runs: {_rearm_command(scope, target)}[/]")
    if answer.flags:
        screen.print(kill_flags_table(answer.flags))


def parse_period(text: str) -> int:
    """Seconds in ``30m``, ``8h``, ``5d``."""
    match = _PERIOD.match(text)
    if match is None or not int(match.group(1)):
        raise InvalidRequest.of("for", text, "a whole number and s, m, h or d, such as 8h")
    return int(match.group(1)) * _PERIOD_S[match.group(2)]


def kill_flags_table(flags: Any) -> Table:
    rows = [
        (
            output.enum_name(authority_pb2.KillScope, flag.scope),
            escape(flag.target or "everything"),
            output.enum_name(authority_pb2.KillLevel, flag.level),
            escape(flag.set_by.id),
            output.moment(flag.set_at_ns),
            output.moment(flag.expires_at_ns) if flag.expires_at_ns else "until re-armed",
            escape(flag.rearm_proposed_by.id) or "[dim]-[/]",
            escape(flag.reason),
        )
        for flag in flags
    ]
    columns = ("scope", "target", "level", "by", "since", "until", "re-arm proposed by", "note")
    return output.table("Kill flags", columns, rows)


def evidence(pending: governance_pb2.PendingIntent) -> Panel:
    """What an approver sees (T05): the order, the setup and its parts, every check, how fresh the state is."""
    intent = pending.intent
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(pending):
        facts.add_row(f"[dim]{name}[/]", value)
    parts: list[Any] = [facts]
    if intent.signal.factors:
        parts += ["", _factors(intent.signal.factors)]
    checks = output.table("Checks", ("", "check", "value", "limit", "message"), [_check_row(c) for c in pending.checks])
    parts += ["", checks, "", f"[dim]evidence {pending.evidence_sha256.hex()[:16]}…  ·  intent {intent.intent_id}[/]"]
    title = (
        f"{output.side(intent.side)} {output.number(intent, 'order_qty')} [bold]{escape(intent.instrument.symbol)}[/]"
    )
    return Panel(Group(*parts), title=title, title_align="left", border_style=_border(pending))


def _facts(pending: governance_pb2.PendingIntent) -> list[tuple[str, str]]:
    intent = pending.intent
    order_type = output.enum_name(common_pb2.OrderType, intent.order_type)
    lines = [
        ("account", f"{escape(intent.account)} at {escape(intent.venue)}"),
        ("proposed by", f"{escape(intent.proposer.id)} ({escape(intent.strategy)}), attempt {intent.attempt}"),
        ("order", f"{order_type} {output.number(intent, 'price') if intent.HasField('price') else ''}"),
        ("reference price", output.number(intent, "reference_price")),
        ("stop / target", f"{output.number(intent, 'stop_price')} / {output.number(intent, 'target_price')}"),
        ("held by", "the venue, with the entry" if intent.bracket else "the strategy"),
        ("notional", output.number(pending, "notional", scale=2)),
        ("lost at the stop", output.number(pending, "risk_at_stop", scale=2)),
        ("confidence", f"{intent.signal.confidence:.2f}"),
        ("state is", f"{output.duration(pending.anchor_age_ns)} old"),
        ("approve until", output.moment(intent.expires_at_ns)),
    ]
    if intent.signal.reason:
        lines.append(("because", escape(intent.signal.reason)))
    return lines


def _factors(factors: Any) -> Table:
    rows = []
    for factor in factors:
        filled = round(min(abs(factor.value), 1.0) * _BAR_WIDTH)
        color = "green" if factor.value >= 0 else "red"
        bar = f"[{color}]{'█' * filled}[/][dim]{'░' * (_BAR_WIDTH - filled)}[/]"
        rows.append((escape(factor.name), bar, f"{factor.value:+.3f}", escape(factor.note)))
    return output.table("Setup", ("factor", "", "value", "note"), rows, right=("value",))


def _check_row(check: authority_pb2.RiskCheck) -> tuple[str, ...]:
    verdict = output.enum_name(authority_pb2.CheckVerdict, check.verdict)
    return output.word(verdict), escape(check.reason), escape(check.value), escape(check.limit), escape(check.message)


def _border(pending: governance_pb2.PendingIntent) -> str:
    worst = max((check.verdict for check in pending.checks), default=authority_pb2.CHECK_VERDICT_PASS)
    return {authority_pb2.CHECK_VERDICT_PASS: "green", authority_pb2.CHECK_VERDICT_WARN: "yellow"}.get(worst, "red")


def _pending_row(pending: governance_pb2.PendingIntent) -> tuple[str, ...]:
    intent = pending.intent
    verdicts = [output.enum_name(authority_pb2.CheckVerdict, check.verdict) for check in pending.checks]
    noted = [v for v in verdicts if v != "PASS"]
    return (
        output.short_id(intent.intent_id),
        escape(intent.account),
        escape(intent.strategy),
        output.side(intent.side),
        output.number(intent, "order_qty"),
        escape(intent.instrument.symbol),
        output.number(intent, "reference_price"),
        output.number(pending, "notional", scale=2),
        output.number(pending, "risk_at_stop", scale=2),
        " ".join(output.word(v) for v in noted) or f"[green]{len(verdicts)} pass[/]",
        output.moment(intent.expires_at_ns),
    )


def _mandate_row(use: governance_pb2.MandateUse) -> tuple[str, ...]:
    mandate = use.mandate
    return (
        output.short_id(mandate.mandate_id),
        escape(mandate.strategy),
        escape(mandate.account),
        escape(" ".join(mandate.symbols)) or "all",
        output.word(use.state),
        f"{use.order_count} of {mandate.max_order_count or '∞'}",
        output.number(use, "total_notional", scale=2),
        output.number(mandate, "max_order_notional"),
        output.number(mandate, "max_total_notional"),
        escape(mandate.granted_by.id),
        output.moment(mandate.expires_at_ns),
    )


def _find_pending(governance: Any, beginning: str) -> governance_pb2.PendingIntent:
    listed = governance.ListPending(governance_pb2.ListPendingRequest(), timeout=clients.TIMEOUT_S)
    found: governance_pb2.PendingIntent = by_beginning(
        listed.pending, beginning, lambda p: p.intent.intent_id, what="waiting intent", listed_by="kestrel inbox"
    )
    return found


def _show_decision(decision: authority_pb2.Decision, json: bool) -> None:
    """Print what came of it. Raises CommandFailed when a rule said no."""
    if json:
        output.print_json(decision)
    verdict = output.enum_name(authority_pb2.Verdict, decision.verdict)
    if decision.verdict in (authority_pb2.VERDICT_DENIED, authority_pb2.VERDICT_EXPIRED):
        blocking = [c for c in decision.checks if c.verdict >= authority_pb2.CHECK_VERDICT_BLOCK]
        why = "; ".join(f"{c.reason}: {c.message}" for c in blocking) or decision.reason
        raise CommandFailed(
            f"{decision.intent_id} was {verdict}: {why}", next_step="see `kestrel beads --kind decision`"
        )
    if not json:
        mark = "[green]✓[/]" if decision.verdict == authority_pb2.VERDICT_APPROVED else "[yellow]■[/]"
        output.console().print(
            f"{mark} {output.word(verdict)} by {escape(decision.decided_by.id)}: {escape(decision.intent_id)}"
        )
        output.console().print(f"[dim]follow it: kestrel trace {escape(decision.intent_id)}[/]")


def _require_target(scope: Scope, target: str) -> None:
    if scope is Scope.GLOBAL and target:
        raise InvalidRequest.of("target", target, "a global flag has no target; choose a --scope")
    if scope is not Scope.GLOBAL and not target:
        raise InvalidRequest.of("target", target, f"say which {scope.value}")


def _rearm_command(scope: Scope, target: str) -> str:
    where = "" if scope is Scope.GLOBAL else f" --scope {scope.value} --target {target}"
    return f'kestrel rearm{where} --reason "..." --as <risk officer>'
