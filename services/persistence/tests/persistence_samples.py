"""Messages of every kind, whole, as the services write them."""

from __future__ import annotations

import hashlib

from google.protobuf.message import Message

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_persistence.core.record import Record

ACCOUNT = "PAPER-1"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
T0 = 1_780_000_000_000_000_000
CLIENT_ORDER_ID = "ksabcdefghijklmnopqrstuvwxyz"
INSTRUMENT = common_pb2.Instrument(
    symbol="AAPL", version=1, currency="USD", price_scale=4, tick_units=100, lot_units=1, multiplier=1
)


def number(units: int, scale: int = 0) -> common_pb2.Decimal:
    return common_pb2.Decimal(units=units, scale=scale)


def record(stream: str, subject: str, message: Message | bytes, sequence: int = 1, time_ns: int = T0) -> Record:
    data = message if isinstance(message, bytes) else message.SerializeToString()
    return Record(stream, subject, sequence, time_ns, data, TRACEPARENT)


def signal() -> signal_pb2.Signal:
    return signal_pb2.Signal(
        signal_id="signal-1",
        strategy="momentum",
        symbol="AAPL",
        action=signal_pb2.SIGNAL_ACTION_ENTER,
        side=common_pb2.SIDE_BUY,
        confidence=0.75,
        reference_price=number(1_000_000, 4),
        created_at_ns=T0,
        market_time_ns=T0 - 5,
    )


def intent(intent_id: str = "intent-1") -> intent_pb2.Intent:
    return intent_pb2.Intent(
        intent_id=intent_id,
        account=ACCOUNT,
        venue="paper",
        environment=common_pb2.ENVIRONMENT_PAPER,
        instrument=INSTRUMENT,
        side=common_pb2.SIDE_BUY,
        order_qty=number(100),
        order_type=common_pb2.ORDER_TYPE_MARKET,
        time_in_force=common_pb2.TIME_IN_FORCE_DAY,
        reference_price=number(1_000_000, 4),
        leverage=1,
        strategy="momentum",
        signal=signal(),
        attempt=1,
        created_at_ns=T0 + 1,
        expires_at_ns=T0 + 10**12,
    )


def bead(bead_id: str = "bead-1", **body: Message) -> audit_pb2.Bead:
    actor = common_pb2.Actor(id="ada", kind="operator", origin="127.0.0.1")
    return audit_pb2.Bead(bead_id=bead_id, account=ACCOUNT, created_at_ns=T0, actor=actor, **body)  # type: ignore[arg-type]


def decision() -> authority_pb2.Decision:
    return authority_pb2.Decision(
        decision_id="decision-1",
        intent_id="intent-1",
        attempt=1,
        verdict=authority_pb2.VERDICT_APPROVED,
        checks=[
            authority_pb2.RiskCheck(
                reason="ORDER_NOTIONAL", verdict=authority_pb2.CHECK_VERDICT_PASS, value="10000.00", limit="50000"
            )
        ],
        decided_by=common_pb2.Actor(id="risk", kind="operator"),
        decided_at_ns=T0 + 3,
        notional=number(1_000_000, 2),
    )


def token(kind: authority_pb2.TokenEventKind.ValueType) -> authority_pb2.TokenEvent:
    return authority_pb2.TokenEvent(
        token_id="token-1", intent_id="intent-1", kind=kind, client_order_id=CLIENT_ORDER_ID
    )


def drift() -> reconcile_pb2.Break:
    return reconcile_pb2.Break(
        break_id="break-1",
        account=ACCOUNT,
        venue="paper",
        kind=reconcile_pb2.BREAK_KIND_POSITION_SIZE,
        severity=common_pb2.SEVERITY_CRITICAL,
        symbol="AAPL",
        machine_state="BUY 100 AAPL",
        broker_state="none",
        opened_at_ns=T0,
    )


def run() -> reconcile_pb2.Run:
    return reconcile_pb2.Run(
        run_id="run-1",
        account=ACCOUNT,
        venue="paper",
        trigger=reconcile_pb2.RUN_TRIGGER_EVENT,
        verdict=reconcile_pb2.RUN_VERDICT_MATCHED,
        journal_sequence=99,
        started_at_ns=T0 + 100,
    )


def authorized() -> inbox_pb2.InboxMessage:
    entry = intent_pb2.AuthorizedIntent(intent=intent().SerializeToString(), decision_id="decision-1")
    return inbox_pb2.InboxMessage(entry=entry)


def order_report(fact: venue_pb2.OrderFact.ValueType) -> inbox_pb2.InboxMessage:
    return inbox_pb2.InboxMessage(
        venue=venue_pb2.VenueReport(
            report_id=f"report-{fact}",
            account=ACCOUNT,
            venue="paper",
            venue_time_ns=T0 + 20,
            received_at_ns=T0 + 21,
            order=venue_pb2.OrderReport(fact=fact, client_order_id=CLIENT_ORDER_ID, symbol="AAPL"),
        )
    )


def fill_report() -> inbox_pb2.InboxMessage:
    return inbox_pb2.InboxMessage(
        venue=venue_pb2.VenueReport(
            report_id="report-fill",
            account=ACCOUNT,
            venue="paper",
            venue_time_ns=T0 + 30,
            received_at_ns=T0 + 31,
            fill=venue_pb2.Fill(
                execution_id="execution-1", client_order_id=CLIENT_ORDER_ID, symbol="AAPL", last_qty=number(40)
            ),
        )
    )


def command(
    kind: journal_pb2.CommandKind.ValueType = journal_pb2.COMMAND_KIND_SUBMIT_ENTRY,
) -> journal_pb2.VenueCommand:
    return journal_pb2.VenueCommand(
        kind=kind,
        client_order_id=CLIENT_ORDER_ID,
        trade_id="intent-1",
        account=ACCOUNT,
        venue="paper",
        environment=common_pb2.ENVIRONMENT_PAPER,
        instrument=INSTRUMENT,
        side=common_pb2.SIDE_BUY,
        order_qty=number(100),
        order_type=common_pb2.ORDER_TYPE_MARKET,
    )


def entry(
    message: inbox_pb2.InboxMessage | None = None, *, previous: bytes = b"", input_sequence: int = 1, **parts: object
) -> journal_pb2.JournalEntry:
    """A journal entry; ``previous`` is the stored bytes of the entry before it."""
    return journal_pb2.JournalEntry(
        partition=0,
        account=ACCOUNT,
        epoch=1,
        input_sequence=input_sequence,
        input_time_ns=T0 + 2,
        door="venue",
        input=message.SerializeToString() if message else b"",
        outcome=journal_pb2.Outcome(accepted=True, code="OK", trade_id="intent-1"),
        previous_hash=hashlib.sha256(previous).digest() if previous else b"",
        recorded_at_ns=T0 + 5,
        traceparent=TRACEPARENT,
        **parts,  # type: ignore[arg-type]
    )


def booked_fill(qty: int = 40, execution_id: str = "execution-1") -> journal_pb2.BookedFill:
    return journal_pb2.BookedFill(
        execution_id=execution_id,
        client_order_id=CLIENT_ORDER_ID,
        trade_id="intent-1",
        symbol="AAPL",
        side=common_pb2.SIDE_BUY,
        last_qty=number(qty),
        last_price=number(1_000_100, 4),
        fee=number(125, 2),
        realized_pnl=number(-125, 2),
    )


def full_entry() -> journal_pb2.JournalEntry:
    """One entry with at least one of everything."""
    return entry(
        fill_report(),
        commands=[command(), command(journal_pb2.COMMAND_KIND_CANCEL)],
        transitions=[
            journal_pb2.Transition(
                slot_index=0,
                trade_id="intent-1",
                from_stage=state_pb2.SLOT_STAGE_ENTRY_WORKING,
                to_stage=state_pb2.SLOT_STAGE_PARTIAL_FILL,
                from_lifecycle=state_pb2.LIFECYCLE_SUBMITTED,
                to_lifecycle=state_pb2.LIFECYCLE_FILLED,
                requested_qty=number(100),
                filled_qty=number(40),
            )
        ],
        fills=[booked_fill()],
        settlements=[
            journal_pb2.SettledFill(execution_id="execution-1", trade_id="intent-1", realized_pnl=number(1, 2))
        ],
        anomalies=[journal_pb2.Anomaly(code="LATE_FILL", severity=common_pb2.SEVERITY_WARNING, message="late")],
        slots=[
            state_pb2.SlotSnapshot(
                slot_index=0, stage=state_pb2.SLOT_STAGE_PARTIAL_FILL, trade_id="intent-1", qty=number(40)
            )
        ],
        account_after=state_pb2.AccountSnapshot(account=ACCOUNT, event_sequence=7, wallet=number(10**14, 8)),
    )


def truth() -> venue_pb2.BrokerTruth:
    return venue_pb2.BrokerTruth(
        venue="paper",
        account=ACCOUNT,
        completeness=venue_pb2.COMPLETENESS_SNAPSHOT,
        as_of_ns=T0,
        execution_watermark=3,
        positions=[venue_pb2.TruthPosition(symbol="AAPL", qty=number(40), average_price=number(1_000_100, 4))],
        open_orders=[
            venue_pb2.TruthOrder(
                client_order_id=CLIENT_ORDER_ID,
                symbol="AAPL",
                side=common_pb2.SIDE_BUY,
                order_qty=number(100),
                cum_qty=number(40),
            )
        ],
        balance=venue_pb2.Balance(wallet=number(99_999_875, 2), currency="USD"),
    )


def bar() -> venue_pb2.Bar:
    return venue_pb2.Bar(
        venue="paper",
        instrument=INSTRUMENT,
        open=number(1_000_000, 4),
        high=number(1_010_000, 4),
        low=number(990_000, 4),
        close=number(1_005_000, 4),
        volume=number(12_345),
        start_ns=T0,
        interval_ns=86_400 * 10**9,
    )


def alert(message: str = "broken") -> audit_pb2.Alert:
    return audit_pb2.Alert(
        alert_id="alert-1", severity=common_pb2.SEVERITY_CRITICAL, service="kernel", reason="X", message=message
    )


def parked() -> audit_pb2.ParkedMessage:
    return audit_pb2.ParkedMessage(
        parked_id="parked-1",
        service="kernel",
        stream="INBOX",
        sequence=9,
        subject="inbox.0.PAPER-1.venue",
        body=b"\xff",
        reason=common_pb2.Refusal(reason="UNREADABLE", message="no such message"),
    )


def all_beads() -> list[audit_pb2.Bead]:
    return [
        bead("b1", decision=decision()),
        bead("b2", token=token(authority_pb2.TOKEN_EVENT_KIND_ISSUED)),
        bead("b3", mandate=authority_pb2.Mandate(mandate_id="m1", symbols=["AAPL", "IBM"], max_order_count=3)),
        bead("b4", kill=authority_pb2.KillFlag(scope=authority_pb2.KILL_SCOPE_GLOBAL, reason="drill")),
        bead("b5", drift=drift()),
        bead("b6", resolution=drift()),
        bead("b7", run=run()),
        bead("b8", signal=signal()),
        bead("b9", operator=audit_pb2.OperatorAction(action="approve", target="intent-1", granted=True)),
        bead("b10", checkpoint=audit_pb2.Checkpoint(chain_length=3)),
    ]


def all_records() -> list[Record]:
    """One message of every kind, each alone in its stream but for the beads."""
    beads = [
        record("BEADS", f"bead.{one.WhichOneof('body')}.{ACCOUNT}", one, index + 1)
        for index, one in enumerate(all_beads())
    ]
    return [
        record("INTENTS", f"intent.{ACCOUNT}", intent()),
        record("INBOX", f"inbox.0.{ACCOUNT}.entry", authorized(), 1),
        record("INBOX", f"inbox.0.{ACCOUNT}.venue", order_report(venue_pb2.ORDER_FACT_ACKNOWLEDGED), 2),
        record("INBOX", f"inbox.0.{ACCOUNT}.venue", fill_report(), 3),
        record("INBOX", f"inbox.0.{ACCOUNT}.tick", inbox_pb2.InboxMessage(tick=inbox_pb2.Tick(account=ACCOUNT)), 4),
        record("JOURNAL_0", f"journal.0.{ACCOUNT}", full_entry()),
        record("TRUTH", f"truth.paper.{ACCOUNT}", truth()),
        *beads,
        record("ALERTS", "alert.critical.kernel", alert()),
        record("PARKED", "parked.kernel", parked()),
        record("MARKET", "market.paper.AAPL", bar()),
    ]
