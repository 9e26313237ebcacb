"""The simulated world: a bus, a venue, a clock and a scheduler, all decided by one seed.

A run has two phases. First everything goes wrong that can: nodes are killed between any two effects, answers of the
venue are lost, publishes happen twice, de-duplication forgets, a stale kernel wakes up, kill flags go up, strangers
trade on the account. Then the faults stop, trading stops, open trades are left, and everything must come to rest with
the venue, the journal and the kernel saying the same.

Safety is checked at every step that touches it, liveness and the books at the end. ``reached`` counts that a fault or a
rare branch really happened; a suite of runs that never reached one fails.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import effects, subjects, tokens
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.identifiers import derived_id, entry_client_order_id, token_id
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS
from kestrel_governance.core.limits import RiskLimits
from kestrel_governance.risk_settings import AccountSettings, RiskSettings
from kestrel_kernel.core.partition import Partition
from kestrel_kernel.core.replay import fold
from kestrel_simulators.matching.books import Event
from kestrel_simulators.paper.venue import Kind, NotFound, PaperVenue
from kestrel_testkit.world import Message, SimulatedBus
from kestrel_venue_gateway.core.reports import VenueEvent
from kestrel_venue_gateway.core.submission import AskResult, Outcome, Presence, SendResult
from tests.simulation.nodes import ACCOUNT, JOURNAL, NODES, VENUE, Steps

START_NS = 1_780_000_000 * SECOND_NS
WALLET = Number(1_000_000, 0)
SYMBOLS = ("AAA", "BBB", "CCC")
SIGNING_KEY = tokens.SigningKey.generate()
REST_STEPS_MAX = 60_000


class Violation(AssertionError):
    """An invariant did not hold."""


@dataclass
class World:
    """One seeded run. ``run`` raises ``Violation`` when something that must never happen did."""

    seed: int
    random: random.Random = field(init=False)
    bus: SimulatedBus = field(default_factory=SimulatedBus)
    venue: PaperVenue = field(default_factory=PaperVenue)
    now_ns: int = START_NS
    faults_on: bool = True
    trading_on: bool = True
    counters: Counter[str] = field(default_factory=Counter)
    truth_requests: list[str] = field(default_factory=list)
    open_break_count: int = 0
    trace: list[str] = field(default_factory=list)
    signing_key: tokens.SigningKey = SIGNING_KEY
    approver: common_pb2.Actor = field(default_factory=lambda: common_pb2.Actor(id="ada", kind="operator"))

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.limits: RiskLimits = _limits()
        self.account_configuration = _configuration()
        self._nodes: dict[str, Steps] = {}
        self._down: dict[str, int] = {}
        self._zombies: list[Steps] = []
        self._epoch = 0
        self._intent_count = 0
        self._stranger_count = 0
        self._truth_seen_inbox: dict[int, int] = {}
        self._sent: Counter[str] = Counter()
        self._price_units = dict.fromkeys(SYMBOLS, 1000000)
        self._bar_count = 0
        self._open_market()

    # --- running -------------------------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """``steps`` with faults, then quiet until everything rests."""
        for _ in range(steps):
            self._step()
        self._stop_faults()
        for step in range(REST_STEPS_MAX):
            self._step()
            if step % 200 == 199:
                self._leave_open_trades()
                if self._at_rest():
                    self._check_books()
                    return
        raise Violation(f"did not come to rest: {self._unrest()}")

    def _step(self) -> None:
        self.now_ns += self.random.randrange(1, 40) * MILLISECOND_NS
        if self.faults_on and self.chance("time jumps", 0.002):
            self.now_ns += self.random.randrange(1, 90) * SECOND_NS
        self._advance_venue()
        name = self.random.choice(tuple(NODES))
        if self._down.get(name, 0) > 0:
            self._down[name] -= 1
            return
        if name not in self._nodes:
            self._nodes[name] = NODES[name](self)
            self.note(f"{name} starts")
        try:
            next(self._nodes[name])
        except StopIteration:
            del self._nodes[name]
        self._maybe_kill(name)
        self._maybe_wake_zombie()
        if self.faults_on and self.chance("de-duplication forgets", 0.001):
            for stream in list(self.bus.streams):
                self.bus.forget_ids(stream)

    def _maybe_kill(self, name: str) -> None:
        if name == "driver" or name not in self._nodes or not self.fault(f"{name} killed", 0.01):
            return
        steps = self._nodes.pop(name)
        self._down[name] = self.random.randrange(0, 40)
        self.note(f"{name} is killed")
        if name == "kernel" and self.random.random() < 0.5:
            self._zombies.append(steps)  # not dead, only frozen: it will wake up and believe that it owns the journal
        else:
            steps.close()  # type: ignore[attr-defined]

    def _maybe_wake_zombie(self) -> None:
        if not self._zombies or self.random.random() > 0.05:
            return
        steps = self._zombies[0]
        try:
            next(steps)
        except StopIteration:
            self._zombies.pop(0)

    def _stop_faults(self) -> None:
        self.faults_on = self.trading_on = False
        self._down.clear()
        self.store_kill_flags(authority_pb2.KillFlags())
        self.note("faults stop")

    # --- chance --------------------------------------------------------------------------------------------------

    def chance(self, name: str, probability: float) -> bool:
        if self.random.random() < probability:
            self.reached(name)
            return True
        return False

    def fault(self, name: str, probability: float) -> bool:
        return self.faults_on and self.chance(name, probability)

    def reached(self, name: str) -> None:
        self.counters[name] += 1

    def note(self, text: str) -> None:
        self.trace.append(f"{(self.now_ns - START_NS) / SECOND_NS:10.3f}s  {text}")

    # --- the bus, as nodes use it --------------------------------------------------------------------------------

    def publish(self, effect: Publish, *, expected_last_sequence: int | None = None) -> None:
        """Store it; sometimes the acknowledgement is lost and the node stores it again under the same id."""
        sequence, duplicate = self.bus.publish(
            effect, now_ns=self.now_ns, expected_last_sequence=expected_last_sequence
        )
        if duplicate:
            self.reached("duplicate suppressed")
        if effect.subject.startswith("truth."):
            self._truth_seen_inbox[sequence] = self.bus.last_sequence(subjects.INBOX)
        elif expected_last_sequence is None and self.fault("acknowledgement lost", 0.03):
            self.bus.publish(effect, now_ns=self.now_ns)
        self.note(f"{effect.subject} #{sequence}{' (again)' if duplicate else ''} {effect.message_id[:12]}")

    def read_some(self, stream: str, start_sequence: int, *, prefix: str = "") -> Iterator[Message]:
        """What a consumer gets at this moment: a few of the messages that are there."""
        limit = self.random.randrange(1, 5)
        for message in self.bus.read(stream, start_sequence=start_sequence, prefix=prefix):
            if limit == 0:
                return
            limit -= 1
            yield message

    def kill_flags(self) -> authority_pb2.KillFlags:
        found = self.bus.get(subjects.FLAGS_BUCKET, subjects.KILL_FLAGS_KEY)
        return authority_pb2.KillFlags.FromString(found[0] if found else b"")

    def store_kill_flags(self, flags: authority_pb2.KillFlags) -> None:
        found = self.bus.get(subjects.FLAGS_BUCKET, subjects.KILL_FLAGS_KEY)
        self.bus.update(
            subjects.FLAGS_BUCKET, subjects.KILL_FLAGS_KEY, flags.SerializeToString(), found[1] if found else 0
        )

    def next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def last_inbox_sequence_before(self, truth: Message) -> int:
        return self._truth_seen_inbox.get(truth.sequence, 0)

    # --- the venue, as the gateway reaches it --------------------------------------------------------------------

    def send(self, command: journal_pb2.VenueCommand) -> SendResult:
        """An order on its way. The invariants of sending are checked here, whatever the answer will be."""
        self._check_send(command)
        if self.fault("send lost on the way", 0.04):
            return SendResult(Outcome.UNKNOWN)
        if self.fault("send never left", 0.02):
            return SendResult(Outcome.NOT_SENT)
        request = paper_pb2.PlaceOrderRequest(
            account=command.account,
            client_order_id=command.client_order_id,
            symbol=command.instrument.symbol,
            side=command.side,
            order_qty=command.order_qty,
            order_type=command.order_type,
            price=command.price if command.HasField("price") else None,
            time_in_force=command.time_in_force,
            reduce_only=command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT,
        )
        try:
            order = self.venue.apply(Kind.PLACE_ORDER, request, self.now_ns).order
        except (Refused, InvalidRequest) as error:
            return SendResult(Outcome.REJECTED, reason=error.refusal())
        self.note(f"venue has {command.client_order_id} {order.status}")
        if self.fault("answer lost on the way back", 0.04):
            return SendResult(Outcome.UNKNOWN)
        outcome = Outcome.REJECTED if order.status == "REJECTED" else Outcome.ACCEPTED
        return SendResult(outcome, order.venue_order_id, order.reason if order.HasField("reason") else None)

    def ask(self, client_order_id: str, *, fence: bool) -> AskResult:
        if self.fault("venue does not answer", 0.2):
            return AskResult(Presence.UNKNOWN)
        request = paper_pb2.GetOrderRequest(account=ACCOUNT, client_order_id=client_order_id, fence=fence)
        if self.venue.needs_fence(request):
            self.venue.apply(Kind.FENCE_ORDER, request, self.now_ns)
        try:
            order = self.venue.get_order(request).order
        except NotFound as error:
            self.reached("order provably absent")
            return AskResult(Presence.ABSENT, reason=error.refusal())
        self.reached("order found after doubt")
        presence = Presence.REJECTED if order.status == "REJECTED" else Presence.FOUND
        return AskResult(presence, order.venue_order_id, order.reason if order.HasField("reason") else None)

    def cancel(self, command: journal_pb2.VenueCommand) -> SendResult:
        if self.fault("cancel lost", 0.1):
            return SendResult(Outcome.UNKNOWN)
        request = paper_pb2.CancelOrderRequest(account=ACCOUNT, client_order_id=command.client_order_id)
        try:
            order = self.venue.apply(Kind.CANCEL_ORDER, request, self.now_ns).order
        except (Refused, InvalidRequest) as error:
            return SendResult(Outcome.REJECTED, reason=error.refusal())
        self.reached("order canceled")
        return SendResult(Outcome.ACCEPTED, order.venue_order_id)

    def venue_events(self, after_sequence: int) -> list[VenueEvent]:
        events: list[Event] = self.venue.engine.account(ACCOUNT).events[after_sequence : after_sequence + 6]
        return [VenueEvent(event.sequence, event.time_ns, event.fact) for event in events]

    def _check_send(self, command: journal_pb2.VenueCommand) -> None:
        """No submission without its own spent token or a warrant; an entry is sent once."""
        self._sent[command.client_order_id] += 1
        if command.kind != journal_pb2.COMMAND_KIND_SUBMIT_ENTRY:
            tokens.read_warrant(self.signing_key.verifying_key(), command.exit_warrant)
            self.reached("exit sent")
            return
        intent = intent_pb2.Intent.FromString(command.intent)
        spent_key = token_id(intent.intent_id, intent.attempt)
        if self.bus.get(subjects.SPENT_BUCKET, spent_key) is None:
            raise Violation(f"{command.client_order_id}: sent without its token being spent")
        if command.client_order_id != entry_client_order_id(spent_key):
            raise Violation(f"{command.client_order_id}: not the id of its token")
        if self._sent[command.client_order_id] > 1:
            raise Violation(f"{command.client_order_id}: an entry was sent twice")
        self.reached("entry sent")

    def _advance_venue(self) -> None:
        due_ns = self.venue.engine.next_deadline_ns()
        if due_ns is not None and due_ns <= self.now_ns:
            self.venue.apply(Kind.ADVANCE, None, self.now_ns)
            self.reached("late fill")

    # --- what strategies, operators and strangers do -------------------------------------------------------------

    def propose(self) -> None:
        self._intent_count += 1
        intent_id = f"intent-{self.seed}-{self._intent_count}"
        symbol = self.random.choice(SYMBOLS)
        reference = Number(self._price_units[symbol], 4)
        is_limit = self.random.random() < 0.3
        side = self.random.choice((common_pb2.SIDE_BUY, common_pb2.SIDE_SELL))
        stop = Number(self._price_units[symbol] * (97 if side == common_pb2.SIDE_BUY else 103) // 100 // 100 * 100, 4)
        intent = intent_pb2.Intent(
            intent_id=intent_id,
            account=ACCOUNT,
            venue=VENUE,
            environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=_instrument(symbol),
            side=side,
            order_qty=Number(self.random.randrange(1, 60), 0).message(),
            order_type=common_pb2.ORDER_TYPE_LIMIT if is_limit else common_pb2.ORDER_TYPE_MARKET,
            price=reference.message() if is_limit else None,
            time_in_force=common_pb2.TIME_IN_FORCE_GTC if is_limit else common_pb2.TIME_IN_FORCE_DAY,
            stop_price=stop.message(),
            reference_price=reference.message(),
            leverage=1,
            strategy=self.random.choice(("momentum", "manual")),
            attempt=1,
            anchor=common_pb2.StateAnchor(hash="ab" * 32, as_of_ns=self.now_ns),
            proposer=common_pb2.Actor(id="policy/momentum", kind="strategy"),
            created_at_ns=self.now_ns,
            expires_at_ns=self.now_ns + 10 * MINUTE_NS,
        )
        self.publish(effects.publish(subjects.intent(ACCOUNT), intent, intent_id))
        if self.fault("garbage in the inbox", 0.03):
            self.publish(Publish(subjects.inbox(0, ACCOUNT, "exit"), b"\xff\xff garbage", f"garbage-{intent_id}"))

    def request_exit(self) -> None:
        for slot in self._open_slots():
            if self.random.random() < 0.5:
                self._request_exit(slot.trade_id, f"{self.now_ns}")
                return

    def request_cancel(self) -> None:
        for slot in self._open_slots():
            if slot.entry.client_order_id and self.random.random() < 0.5:
                self._request_cancel(slot.entry.client_order_id)
                return

    def stranger_trades(self) -> None:
        """Somebody else on the account works an order: ours must not move, and nobody may call it ours."""
        self._stranger_count += 1
        request = paper_pb2.PlaceOrderRequest(
            account=ACCOUNT,
            client_order_id=f"zz-stranger-{self._stranger_count}",
            symbol="ZZZ",
            side=common_pb2.SIDE_BUY,
            order_qty=Number(1, 0).message(),
            order_type=common_pb2.ORDER_TYPE_LIMIT,
            price=Number(100, 4).message(),
            time_in_force=common_pb2.TIME_IN_FORCE_GTC,
        )
        self.venue.apply(Kind.PLACE_ORDER, request, self.now_ns)

    def move_prices(self) -> None:
        symbol = self.random.choice(SYMBOLS)
        self._price_units[symbol] = max(500_000, self._price_units[symbol] + self.random.randrange(-8, 9) * 1000)
        self._publish_bar(symbol)

    def _publish_bar(self, symbol: str) -> None:
        self._bar_count += 1
        price = Number(self._price_units.get(symbol, 1_000_000), 4).message()
        bar = venue_pb2.Bar(
            venue=VENUE,
            instrument=_instrument(symbol),
            open=price,
            high=price,
            low=price,
            close=price,
            volume=Number(1_000_000, 0).message(),
            start_ns=START_NS + self._bar_count * MILLISECOND_NS,
            interval_ns=MILLISECOND_NS,
        )
        self.venue.apply(Kind.PUBLISH_BAR, paper_pb2.PublishBarRequest(bar=bar), self.now_ns)

    def _open_market(self) -> None:
        open_account = paper_pb2.OpenAccountRequest(account=ACCOUNT, wallet=WALLET.message(), currency="USD")
        self.venue.apply(Kind.OPEN_ACCOUNT, open_account, self.now_ns)
        mode = paper_pb2.SetModeRequest(
            mode=paper_pb2.MATCHING_MODE_ADVERSARIAL, seed=self.seed, delay_scale_permille=300
        )
        self.venue.apply(Kind.SET_MODE, mode, self.now_ns)
        for symbol in (*SYMBOLS, "ZZZ"):
            self._publish_bar(symbol)
        mandate = authority_pb2.Mandate(
            mandate_id="mandate-1",
            strategy="momentum",
            account=ACCOUNT,
            max_order_notional=Number(1_000_000, 0).message(),
            environment=common_pb2.ENVIRONMENT_PAPER,
            not_before_ns=self.now_ns,
            expires_at_ns=self.now_ns + 30 * DAY_NS,
            granted_by=self.approver,
            granted_at_ns=self.now_ns,
        )
        bead = audit_pb2.Bead(bead_id="mandate-1", account=ACCOUNT, created_at_ns=self.now_ns, mandate=mandate)
        self.bus.publish(effects.bead(bead), now_ns=self.now_ns)

    def _request_exit(self, trade_id: str, cause: str) -> None:
        request = intent_pb2.ExitRequest(
            request_id=derived_id("exit-request", trade_id, cause),
            account=ACCOUNT,
            trade_id=trade_id,
            order_type=common_pb2.ORDER_TYPE_MARKET,
            reason="sim",
            requested_by=self.approver,
            requested_at_ns=self.now_ns,
        )
        message = inbox_pb2.InboxMessage(exit=request)
        self.publish(effects.publish(subjects.inbox(0, ACCOUNT, "exit"), message, request.request_id))

    def _request_cancel(self, client_order_id: str) -> None:
        control = inbox_pb2.Control(
            request_id=derived_id("cancel", client_order_id, self.now_ns),
            account=ACCOUNT,
            action=inbox_pb2.CONTROL_ACTION_CANCEL_ORDER,
            client_order_id=client_order_id,
            requested_by=self.approver,
        )
        message = inbox_pb2.InboxMessage(control=control)
        self.publish(effects.publish(subjects.inbox(0, ACCOUNT, "control"), message, control.request_id))

    # --- coming to rest ------------------------------------------------------------------------------------------

    def _slots(self) -> dict[str, state_pb2.SlotSnapshot]:
        """The newest snapshot of every trade in the journal."""
        latest: dict[str, state_pb2.SlotSnapshot] = {}
        for message in self.bus.read(JOURNAL):
            for slot in journal_pb2.JournalEntry.FromString(message.data).slots:
                latest[slot.trade_id] = slot
        return latest

    def _open_slots(self) -> list[state_pb2.SlotSnapshot]:
        over = (
            state_pb2.SLOT_STAGE_IDLE,
            state_pb2.SLOT_STAGE_POSITION_CLOSED,
            state_pb2.SLOT_STAGE_ORDER_REJECTED,
            state_pb2.SLOT_STAGE_TERMINAL_WRITTEN,
        )
        return [slot for slot in self._slots().values() if slot.trade_id and slot.stage not in over]

    def _leave_open_trades(self) -> None:
        self.move_prices()
        for slot in self._open_slots():
            self._request_exit(slot.trade_id, f"rest-{self.now_ns}")
            if slot.entry.life == state_pb2.ORDER_LIFE_OPEN:
                self._request_cancel(slot.entry.client_order_id)

    def _at_rest(self) -> bool:
        return not self._unrest()

    def _unrest(self) -> str:
        """What is still going on; empty at rest."""
        journaled = max(
            (journal_pb2.JournalEntry.FromString(m.data).input_sequence for m in self.bus.read(JOURNAL)), default=0
        )
        if journaled < self.bus.last_sequence(subjects.INBOX):
            return f"inbox at {self.bus.last_sequence(subjects.INBOX)}, journal has {journaled}"
        account = self.venue.engine.account(ACCOUNT)
        if open_slots := self._open_slots():
            return f"{len(open_slots)} open trades: " + ", ".join(
                f"{slot.trade_id} {state_pb2.SlotStage.Name(slot.stage)}" for slot in open_slots[:4]
            )
        ours = [order for order in account.orders.values() if order.request.client_order_id.startswith("ks")]
        if working := [order for order in ours if order.life.name == "WORKING"]:
            return f"{len(working)} orders work at the venue that no trade knows"
        return ""

    def _check_books(self) -> None:
        """At rest: venue = journal, every order once, every fill once, the chain whole, the replay equal."""
        partition = Partition(0, 1)
        fills: Counter[str] = Counter()
        commanded: set[str] = set()
        for message in self.bus.read(JOURNAL):
            entry = fold(partition, message.sequence, message.data)
            fills.update(fill.execution_id for fill in entry.fills)
            commanded.update(command.client_order_id for command in entry.commands)
        account = self.venue.engine.account(ACCOUNT)
        ours = {name: order for name, order in account.orders.items() if name.startswith("ks")}
        self._require(not ours.keys() - commanded, "the venue has an order that the journal does not command")
        self._require(all(count == 1 for count in fills.values()), "a fill was booked twice")
        at_venue = {fill.execution_id for fill in account.fills if fill.client_order_id.startswith("ks")}
        self._require(at_venue == set(fills), f"fills differ: {sorted(at_venue ^ set(fills))[:4]}")
        held = {name: position.qty_units for name, position in account.positions.items() if position.qty_units}
        self._require(not held, f"the venue holds {held} and every trade is over")
        snapshot = partition.account(ACCOUNT)
        self._require(
            Number.of(snapshot.wallet) == Number(account.wallet_units, 8),
            f"wallet: kernel {Number.of(snapshot.wallet)}, venue {Number(account.wallet_units, 8)}",
        )
        self._require(
            snapshot.ledger_status != state_pb2.LEDGER_STATUS_ERROR,
            f"the kernel's ledger is off by {Number.of(snapshot.ledger_delta)}",
        )
        partition.close()
        self.counters["orders"] += len(ours)
        self.counters["fills"] += len(fills)

    def _require(self, holds: bool, message: str) -> None:
        if not holds:
            raise Violation(message)


def _instrument(symbol: str) -> common_pb2.Instrument:
    return common_pb2.Instrument(
        symbol=symbol, version=1, currency="USD", price_scale=4, qty_scale=0, tick_units=100, lot_units=1, multiplier=1
    )


def _configuration() -> state_pb2.AccountConfiguration:
    return state_pb2.AccountConfiguration(
        account=ACCOUNT,
        venue=VENUE,
        currency="USD",
        environment=common_pb2.ENVIRONMENT_PAPER,
        max_slots=8,
        maker_fee_rate=Number(20_000, 8).message(),
        taker_fee_rate=Number(50_000, 8).message(),
        ledger_warning_tolerance=Number(1, 2).message(),
        ledger_error_tolerance=Number(1, 0).message(),
        settlement_tolerance=Number(1, 2).message(),
        leverage_cap=5,
        submitted_ttl_ns=60 * SECOND_NS,
        seed_wallet=WALLET.at(8).message(),
    )


def _limits() -> RiskLimits:
    accounts = (AccountSettings(account=ACCOUNT, venue=VENUE, currency="USD"),)
    return RiskSettings().limits(common_pb2.ENVIRONMENT_PAPER, accounts)
