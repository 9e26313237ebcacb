"""Rows of what a bead carries; the bead's own row, with its link in the chain, is made in ``rows.py``."""

from __future__ import annotations

from collections.abc import Callable

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_persistence.core.record import Record, Row, amount, count, name, required, row, text


def bead_rows(record: Record, bead: audit_pb2.Bead) -> list[Row]:
    """Typed rows by kind. A kind of a newer contract, or none, is refused: nothing could be said about it."""
    kind = bead.WhichOneof("body")
    reader = _READERS.get(kind or "")
    if reader is None:
        raise InvalidRequest.of("body", kind or "", "one of " + ", ".join(sorted(_READERS)))
    return reader(record, bead)


def _decision(record: Record, bead: audit_pb2.Bead) -> list[Row]:
    decision = bead.decision
    intent_id = required("decision.intent_id", decision.intent_id)
    rows = [
        row(
            "decisions",
            record,
            decision_id=required("decision.decision_id", decision.decision_id),
            account=text(bead.account),
            intent_id=intent_id,
            attempt=decision.attempt,
            verdict=name(authority_pb2.Verdict, decision.verdict, "VERDICT"),
            decided_by=text(decision.decided_by.id),
            decided_by_kind=text(decision.decided_by.kind),
            mandate_id=text(decision.mandate_id),
            reason=text(decision.reason),
            strategy=text(decision.strategy),
            symbol=text(decision.symbol),
            notional=amount(decision, "notional"),
            intent_sha256=decision.intent_sha256 or None,
            evidence_sha256=decision.evidence_sha256 or None,
            decided_at_ns=count(decision.decided_at_ns),
        )
    ]
    rows += [
        row(
            "risk_checks",
            record,
            position=position,
            intent_id=intent_id,
            reason=text(check.reason),
            verdict=name(authority_pb2.CheckVerdict, check.verdict, "CHECK_VERDICT"),
            value=text(check.value),
            limit_value=text(check.limit),
            message=text(check.message),
        )
        for position, check in enumerate(decision.checks)
    ]
    return rows


def _token(record: Record, bead: audit_pb2.Bead) -> list[Row]:
    token = bead.token
    return [
        row(
            "token_events",
            record,
            account=text(bead.account),
            token_id=required("token.token_id", token.token_id),
            intent_id=text(token.intent_id),
            kind=name(authority_pb2.TokenEventKind, token.kind, "TOKEN_EVENT_KIND"),
            reason=text(token.reason.reason),
            message=text(token.reason.message),
            client_order_id=text(token.client_order_id),
            evidence_sha256=token.evidence_sha256 or None,
            expires_at_ns=count(token.expires_at_ns),
        )
    ]


def _mandate(record: Record, bead: audit_pb2.Bead) -> list[Row]:
    mandate = bead.mandate
    return [
        row(
            "mandates",
            record,
            mandate_id=required("mandate.mandate_id", mandate.mandate_id),
            strategy=text(mandate.strategy),
            account=text(mandate.account),
            symbols=text(",".join(mandate.symbols)),
            max_order_notional=amount(mandate, "max_order_notional"),
            max_total_notional=amount(mandate, "max_total_notional"),
            max_order_count=count(mandate.max_order_count),
            environment=name(common_pb2.Environment, mandate.environment, "ENVIRONMENT"),
            not_before_ns=count(mandate.not_before_ns),
            expires_at_ns=count(mandate.expires_at_ns),
            granted_by=text(mandate.granted_by.id),
            granted_at_ns=count(mandate.granted_at_ns),
            reason=text(mandate.reason),
            revoked_by=text(mandate.revoked_by.id),
            revoked_at_ns=count(mandate.revoked_at_ns),
        )
    ]


def _kill(record: Record, bead: audit_pb2.Bead) -> list[Row]:
    flag = bead.kill
    return [
        row(
            "kill_events",
            record,
            scope=name(authority_pb2.KillScope, flag.scope, "KILL_SCOPE"),
            target=text(flag.target),
            level=name(authority_pb2.KillLevel, flag.level, "KILL_LEVEL"),
            reason=text(flag.reason),
            set_by=text(flag.set_by.id),
            set_at_ns=count(flag.set_at_ns),
            expires_at_ns=count(flag.expires_at_ns),
            rearm_proposed_by=text(flag.rearm_proposed_by.id),
            rearmed_by=text(flag.rearmed_by.id),
            rearmed_at_ns=count(flag.rearmed_at_ns),
            actor=text(bead.actor.id),
        )
    ]


def _break(record: Record, event: str, found: reconcile_pb2.Break) -> list[Row]:
    resolution = found.resolution if found.HasField("resolution") else None
    return [
        row(
            "breaks",
            record,
            event=event,
            break_id=required(f"{event}.break_id", found.break_id),
            account=text(found.account),
            venue=text(found.venue),
            kind=name(reconcile_pb2.BreakKind, found.kind, "BREAK_KIND"),
            severity=name(common_pb2.Severity, found.severity, "SEVERITY"),
            symbol=text(found.symbol),
            client_order_id=text(found.client_order_id),
            machine_state=text(found.machine_state),
            broker_state=text(found.broker_state),
            reason=text(found.reason),
            message=text(found.message),
            opened_at_ns=count(found.opened_at_ns),
            escalated_at_ns=count(found.escalated_at_ns),
            opened_by_run_id=text(found.opened_by_run_id),
            resolution=name(reconcile_pb2.ResolutionKind, resolution.kind, "RESOLUTION_KIND") if resolution else None,
            resolved_by=text(resolution.resolved_by.id) if resolution else None,
            resolution_notes=text(resolution.notes) if resolution else None,
            resolved_at_ns=count(resolution.resolved_at_ns) if resolution else None,
        )
    ]


def _run(record: Record, bead: audit_pb2.Bead) -> list[Row]:
    run = bead.run
    return [
        row(
            "recon_runs",
            record,
            run_id=required("run.run_id", run.run_id),
            account=text(run.account),
            venue=text(run.venue),
            trigger=name(reconcile_pb2.RunTrigger, run.trigger, "RUN_TRIGGER"),
            verdict=name(reconcile_pb2.RunVerdict, run.verdict, "RUN_VERDICT"),
            severity=name(common_pb2.Severity, run.severity, "SEVERITY"),
            order_count=run.order_count,
            position_count=run.position_count,
            matched_count=run.matched_count,
            unmatched_count=run.unmatched_count,
            suspected_count=run.suspected_count,
            snapshot_at_ns=count(run.snapshot_at_ns),
            started_at_ns=count(run.started_at_ns),
            journal_sequence=run.journal_sequence,
            reasons=text(",".join(run.reasons)),
            break_ids=text(",".join(run.break_ids)),
        )
    ]


def _signal(record: Record, bead: audit_pb2.Bead) -> list[Row]:
    signal = bead.signal
    return [
        row(
            "signals",
            record,
            signal_id=required("signal.signal_id", signal.signal_id),
            account=text(bead.account),
            strategy=text(signal.strategy),
            symbol=text(signal.symbol),
            action=name(signal_pb2.SignalAction, signal.action, "SIGNAL_ACTION"),
            side=name(common_pb2.Side, signal.side, "SIDE"),
            confidence=signal.confidence,
            reference_price=amount(signal, "reference_price"),
            market_time_ns=count(signal.market_time_ns),
            created_at_ns=count(signal.created_at_ns),
            reason=text(signal.reason),
        )
    ]


def _operator(record: Record, bead: audit_pb2.Bead) -> list[Row]:
    action = bead.operator
    return [
        row(
            "operator_actions",
            record,
            account=text(bead.account),
            operator=text(bead.actor.id),
            origin=text(bead.actor.origin),
            action=text(action.action),
            target=text(action.target),
            reason=text(action.reason),
            granted=action.granted,
            refusal_reason=text(action.refusal.reason),
            refusal_message=text(action.refusal.message),
        )
    ]


_READERS: dict[str, Callable[[Record, audit_pb2.Bead], list[Row]]] = {
    "decision": _decision,
    "token": _token,
    "mandate": _mandate,
    "kill": _kill,
    "drift": lambda record, bead: _break(record, "drift", bead.drift),
    "resolution": lambda record, bead: _break(record, "resolution", bead.resolution),
    "run": _run,
    "signal": _signal,
    "operator": _operator,
    "checkpoint": lambda _record, _bead: [],
}
