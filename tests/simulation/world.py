"""The simulated world: a bus, a venue, a clock and a scheduler, all decided by one seed.

A run has two phases. First everything goes wrong that can: nodes are killed or frozen between any two effects, clocks
differ, orders arrive late or never, answers of the venue are lost, publishes happen twice, de-duplication forgets,
kill flags go up, strangers trade on the account. Then the faults stop, trading stops, open trades are left (in half of
the runs under a kill flag), and everything must come to rest with the venue, the journal and the kernel agreeing.

The referee checks safety at every step that touches it; liveness and the books are checked at the end. ``reached``
counts that a fault or a rare branch really happened; a suite of runs that never reached one fails.
"""

from __future__ import annotations

import gc
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

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
from kestrel_domain.identifiers import CLIENT_ORDER_ID_PREFIX, derived_id, partition_of
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS
from kestrel_governance.core.limits import RiskLimits
from kestrel_governance.risk_settings import AccountSettings, RiskSettings
from kestrel_simulators.matching.books import Account, Event, Life, Position
from kestrel_simulators.paper.venue import Kind, NotFound, PaperVenue
from kestrel_testkit.world import Message, ShellBus, SimulatedBus, SimulatedDisk, stream_of
from kestrel_venue_gateway.core.reports import VenueEvent
from kestrel_venue_gateway.core.submission import AskResult, Outcome, Presence, SendResult
from tests.simulation.database import Database
from tests.simulation.leases import LeaseStore, OwnerLease
from tests.simulation.nodes import ACCOUNT, DRIFT_QTY, SECOND_ACCOUNT, STORED_STREAMS, VENUE, Steps, nodes_of
from tests.simulation.referee import OVER, SKEW_NS_MAX, WORKING, Books, Referee, Violation, is_over
from tests.simulation.story import Line, story

if TYPE_CHECKING:
    from _typeshed import SupportsLenAndGetItem

T = TypeVar("T")

START_NS = 1_780_000_000 * SECOND_NS
WALLET = Number(1_000_000, 0)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "FFF")
DAILY_SYMBOLS = ("AAA", "BBB", "CCC")
"""Of these there are daily bars on the bus, so the policy trades them, too."""

STRANGER_SYMBOL, DRIFT_SYMBOL = "YYY", "ZZZ"
SIGNING_KEY = tokens.SigningKey.generate()
REST_STEPS_MAX = 20_000
EXPOSURE_RATIO_MAX = "0.02"  # a few orders at a time: the limit has to be met to be tested
KILLED = {kind: f"{kind} killed" for kind in ("kernel", "governance", "gateway", "reconciler", "persistence", "policy")}
FREEZES = ("kernel", "gateway", "persistence")
TURNS = {"kernel": 2, "gateway": 2, "governance": 2}
"""Who is on an order's way gets that many turns for one of the others."""

LAYOUTS = (((ACCOUNT,), 1), ((ACCOUNT, SECOND_ACCOUNT), 1), ((ACCOUNT, SECOND_ACCOUNT), 2))
"""Accounts, and into how many partitions they are divided; the seed chooses."""


class Chance(random.Random):
    """The library's numbers, drawn by a shorter way: a world draws several at each step."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """Of whole numbers, one after the other."""
        assert step == 1
        first, count = (0, start) if stop is None else (start, stop - start)
        bit_count = count.bit_length()
        drawn = self.getrandbits(bit_count)
        while drawn >= count:
            drawn = self.getrandbits(bit_count)
        return first + drawn

    def choice(self, seq: SupportsLenAndGetItem[T]) -> T:
        """One of them."""
        return seq[self.randrange(len(seq))]

    def numbers_below(self, count: int) -> Callable[[], int]:
        """Draws one as ``randrange`` does, each time it is called: what is drawn at every step has its own."""
        bit_count, getrandbits = count.bit_length(), self.getrandbits

        def draw() -> int:
            drawn = getrandbits(bit_count)
            while drawn >= count:
                drawn = getrandbits(bit_count)
            return drawn

        return draw


@dataclass
class World:
    """One seeded run. ``run`` raises ``Violation`` when something that must never happen did."""

    seed: int
    step_count: int = 0
    random: Chance = field(init=False)
    bus: SimulatedBus = field(default_factory=SimulatedBus)
    venue: PaperVenue = field(default_factory=PaperVenue)
    true_ns: int = START_NS
    faults_on: bool = True
    trading_on: bool = True
    without: frozenset[str] = frozenset()
    """Kinds of faults that are left out, though their numbers are drawn: the rest stays as it was."""
    counters: Counter[str] = field(default_factory=Counter)
    faults_met: Counter[str] = field(default_factory=Counter)
    truth_requests: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    open_breaks: Counter[str] = field(default_factory=Counter)
    trace: list[Line] = field(default_factory=list)
    signing_key: tokens.SigningKey = SIGNING_KEY
    people: tuple[common_pb2.Actor, ...] = field(default_factory=lambda: tuple(map(_person, ("ada", "bob"))))

    def __post_init__(self) -> None:
        self.random = Chance(self.seed)
        # Looked up once: they are called at each step, some of them several times.
        self._draw, self._draw_ms = self.random.random, self.random.numbers_below(39)
        self._draw_limit = self.random.numbers_below(4)
        self.accounts, self.partition_count = self._layout()
        self.journals = tuple(map(subjects.journal_stream, range(self.partition_count)))
        self.limits: RiskLimits = _limits(self.accounts)
        self.nodes = nodes_of(self.accounts, self.partition_count)
        self._turns = tuple(name for name, node in self.nodes.items() for _ in range(TURNS.get(node.kind, 1)))
        self._draw_turn = self.random.numbers_below(len(self._turns))
        self.shell_bus = ShellBus(self.bus)
        self.disk = TearingDisk(self)
        self.database = Database()
        self._nodes: dict[str, Steps] = {}
        self._down: dict[str, int] = {}
        self._frozen: list[tuple[str, Steps, int]] = []
        self._skew_ns = {name: self.random.randrange(-SKEW_NS_MAX // 2, SKEW_NS_MAX // 2) for name in self.nodes}
        if max(self._skew_ns.values()) - min(self._skew_ns.values()) > SKEW_NS_MAX // 4:
            self.reached("clocks differ")
        self._running = ""
        self._late: list[tuple[int, list[paper_pb2.PlaceOrderRequest]]] = []
        self._unsettled: list[tuple[int, str, venue_pb2.Fill]] = []
        self._events_seen = dict.fromkeys(self.accounts, 0)
        self._epochs = [0] * self.partition_count
        self.leases = LeaseStore(self) if self.chance("owners have the real lease", 0.5) else None
        self._session = 0
        self._intent_count = 0
        self._stranger_count = 0
        self._truth_seen_inbox: dict[int, int] = {}
        self._proposed: dict[str, intent_pb2.Intent] = {}
        self._price_units = dict.fromkeys(SYMBOLS, 1_000_000)
        self._bar_count = 0
        self._day = 0
        self._open_market()
        self.referee = Referee(
            self.bus,
            {name: self.venue_account(name) for name in self.accounts},
            self.signing_key.verifying_key(),
            _exposure_max(),
            self.partition_count,
        )
        for account in self.accounts:
            self._grant_mandate(account)

    def _layout(self) -> tuple[tuple[str, ...], int]:
        return self.random.choice(LAYOUTS)

    def venue_account(self, account: str = ACCOUNT) -> Account:
        """An account as the venue has it."""
        return self.venue.engine.account(account)

    def account_configurations(self, partition: int) -> list[state_pb2.AccountConfiguration]:
        """How the accounts of a partition are set up."""
        return [_configuration(name) for name in self.accounts if partition_of(name, self.partition_count) == partition]

    # --- running -------------------------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """``steps`` with faults, then quiet until everything rests."""
        collects = gc.isenabled()
        gc.disable()  # all that a world makes lives as long as it does: looking for garbage finds none, and takes long
        try:
            for _ in range(steps):
                self._step()
            self._stop_faults()
            self._come_to_rest()
            self.referee.check_books()
            self.referee.check_database(self.database)
        finally:
            self.counters += self.referee.counters
            self.close()
            if collects:
                gc.enable()

    def close(self) -> None:
        """Frees the kernels' memory."""
        for partition in self.referee.partitions:
            partition.close()
        for steps_left in [*self._nodes.values(), *(frozen for _, frozen, _ in self._frozen)]:
            steps_left.close()  # type: ignore[attr-defined]

    def _come_to_rest(self) -> None:
        balance_told = False
        for step in range(REST_STEPS_MAX):
            self._step()
            if step % 100 < 99:
                continue
            self._leave_open_trades()
            if not self._unrest() and balance_told:
                return
            if not self._unrest():
                self._tell_balances()
                balance_told = True
        oldest = next((slot.trade_id for slot in self.referee.open_slots()), "")
        raise Violation(f"did not come to rest: {self._unrest()}", oldest)

    def _tell_balances(self) -> None:
        """As a venue does from time to time.

        A bust may bring a trade back beside a later one in its symbol. The venue nets the two, so their profits agree
        in sum and not one by one, and the ledger is right again with the frame after the last of them.
        """
        for account in map(self.venue_account, self.accounts):
            account.say(self.true_ns, account.balance(account.last_sequence + 1))

    def _step(self) -> None:
        self.step_count += 1
        self.true_ns += (1 + self._draw_ms()) * MILLISECOND_NS
        if self.fault("time jumps", 0.002):
            self.true_ns += self.random.randrange(1, 90) * SECOND_NS
        self._advance_venue()
        if self._late:
            self._deliver_late_orders()
        if self._unsettled:
            self._settle()
        name = self._turns[self._draw_turn()]
        if self._down.get(name, 0) > 0:
            self._down[name] -= 1
            return
        if name not in self._nodes:
            self._nodes[name] = self.nodes[name].start(self)
            self.note(f"{name} starts")
        if not self._advance(name, self._nodes[name]):
            del self._nodes[name]
        self._maybe_kill(name)
        if self._frozen:
            self._maybe_wake()
        if self.fault("de-duplication forgets", 0.001):
            for stream in list(self.bus.streams):
                self.bus.forget_ids(stream)

    def _advance(self, name: str, steps: Steps) -> bool:
        """One step of a node, by its own clock. False: it ended."""
        self._running = name
        try:
            next(steps)
        except StopIteration:
            return False
        finally:
            self._running = ""
        return True

    @property
    def now_ns(self) -> int:
        """The time as whoever runs at this moment believes it to be."""
        return self.true_ns + self._skew_ns.get(self._running, 0)

    def _maybe_kill(self, name: str) -> None:
        kind = self.nodes[name].kind
        if kind == "driver" or name not in self._nodes or not self.fault(KILLED[kind], 0.01):
            return
        steps = self._nodes.pop(name)
        self._down[name] = self.random.randrange(0, 40)
        if kind in FREEZES and self.random.random() < 0.5:
            # Not dead, only frozen: it will wake up and believe that it still is the one.
            self._frozen.append((name, steps, self.random.randrange(1, 80)))
            self.note(f"{name} freezes")
            self.reached(f"{kind} frozen")
        else:
            self.note(f"{name} is killed")
            steps.close()  # type: ignore[attr-defined]

    def _maybe_wake(self) -> None:
        if self._draw() > 0.1:
            return
        name, steps, steps_left = self._frozen.pop(0)
        alive = self._advance(name, steps)
        self.reached(f"stale {self.nodes[name].kind} runs")
        if alive and steps_left > 0:
            self._frozen.insert(0, (name, steps, steps_left - 1))
        else:
            steps.close()  # type: ignore[attr-defined]

    def _stop_faults(self) -> None:
        self.faults_on = self.trading_on = False
        self._down.clear()
        flags = authority_pb2.KillFlags()
        if self.random.random() < 0.5:
            flags.flags.add(scope=authority_pb2.KILL_SCOPE_GLOBAL, level=authority_pb2.KILL_LEVEL_BLOCK_ENTRIES)
            self.reached("comes to rest while killed")
        self.store_kill_flags(flags)
        self.note("faults stop")

    # --- chance --------------------------------------------------------------------------------------------------

    def chance(self, name: str, probability: float) -> bool:
        if self._draw() < probability:
            self.reached(name)
            return True
        return False

    def fault(self, name: str, probability: float) -> bool:
        if not self.faults_on or self._draw() >= probability or name in self.without:
            return False
        self.met(name)
        return True

    def met(self, name: str) -> None:
        """A fault happens."""
        self.faults_met[name] += 1
        self.reached(name)

    def reached(self, name: str) -> None:
        self.counters[name] += 1

    def note(self, text: str, about: str = "", message: Publish | None = None) -> None:
        self.trace.append(Line(self.step_count, (self.true_ns - START_NS) / SECOND_NS, text, about, message))

    def story(self, error: BaseException) -> list[str]:
        """What led to an error: the lines about its order and trade, or the last ones."""
        about = getattr(error, "about", "")
        return story(self.trace, self.referee.related(about) if about else set())

    def failure(self, error: BaseException, steps: int) -> str:
        """Everything that a person needs to look into it."""
        lines = [*self.story(error), f"seed {self.seed}, step {self.step_count}: {type(error).__name__}: {error}"]
        left_out = f' --without "{",".join(sorted(self.without))}"' if self.without else ""
        return "\n".join([*lines, f"replay: kestrel simulate --seed {self.seed} --steps {steps}{left_out}"])

    # --- the bus, as nodes use it --------------------------------------------------------------------------------

    def publish(self, effect: Publish, *, expected_last_sequence: int | None = None) -> Message:
        """Store it; what is stored, which is another message if its id was there before.

        Sometimes the acknowledgement is lost and the node stores it again under the same id.
        """
        sequence, duplicate = self.bus.publish(
            effect, now_ns=self.true_ns, expected_last_sequence=expected_last_sequence
        )
        self.note(f"#{sequence}{' (again)' if duplicate else ''}", message=effect)
        stream = stream_of(effect.subject)
        stored = self.bus.streams[stream].messages[sequence - 1]
        if duplicate:
            self.reached("duplicate suppressed")
            return stored
        if stream == subjects.TRUTH:
            self._truth_seen_inbox[sequence] = self._last_venue_fact(effect.subject.rpartition(".")[2])
        self.referee.on_stored(stored)
        if self.fault("acknowledgement lost", 0.03):
            if expected_last_sequence is None:
                self.bus.publish(effect, now_ns=self.true_ns)
            else:
                return self.publish(effect, expected_last_sequence=expected_last_sequence)
        return stored

    def read_some(self, stream: str, start_sequence: int, *, prefix: str = "") -> list[Message]:
        """What a consumer gets at this moment: a few of the messages that are there."""
        limit = 1 + self._draw_limit()
        stored = self.bus.stored(stream)
        if start_sequence > len(stored):
            return []  # as mostly
        if not prefix:
            return stored[start_sequence - 1 : start_sequence - 1 + limit]
        found = (message for message in islice(stored, start_sequence - 1, None) if message.subject.startswith(prefix))
        return list(islice(found, limit))

    def kill_flags(self) -> authority_pb2.KillFlags:
        found = self.bus.get(subjects.FLAGS_BUCKET, subjects.KILL_FLAGS_KEY)
        return authority_pb2.KillFlags.FromString(found[0] if found else b"")

    def store_kill_flags(self, flags: authority_pb2.KillFlags) -> None:
        found = self.bus.get(subjects.FLAGS_BUCKET, subjects.KILL_FLAGS_KEY)
        self.bus.update(
            subjects.FLAGS_BUCKET, subjects.KILL_FLAGS_KEY, flags.SerializeToString(), found[1] if found else 0
        )
        self.referee.on_flags_stored(flags, self.true_ns)

    def owner_lease(self, partition: int) -> OwnerLease | None:
        """The lease of a process that wants to own a partition. None: in this world owners come and go by chance."""
        return OwnerLease(self, self.leases, f"kernel.{partition}") if self.leases is not None else None

    def next_epoch(self, partition: int) -> None:
        """The next owner's epoch, where owners come and go by chance."""
        if self.fault("epochs count anew", 0.1):
            self._epochs[partition] = 0
        self._epochs[partition] += 1

    def epoch(self, partition: int) -> int:
        return self._epochs[partition]

    def next_session(self) -> int:
        """The number of a gateway's session; a frozen one and its successor have different ones."""
        self._session += 1
        return self._session

    def _last_venue_fact(self, account: str) -> int:
        """The place in the inbox of what the venue said last about an account."""
        subject = subjects.inbox(partition_of(account, self.partition_count), account, "venue")
        stored = reversed(self.bus.stored(subjects.INBOX))
        return next((message.sequence for message in stored if message.subject == subject), 0)

    def last_inbox_sequence_before(self, truth: Message) -> int:
        return self._truth_seen_inbox.get(truth.sequence, 0)

    # --- the venue, as the gateway reaches it --------------------------------------------------------------------

    def send(self, command: journal_pb2.VenueCommand, identity: str, session: int) -> SendResult:
        """An order on its way. The referee judges that it was sent, whatever the answer will be."""
        self.note("is sent to the venue", command.client_order_id)
        self.referee.on_send(command, identity, session)
        if self.fault("send lost on the way", 0.06):
            return SendResult(Outcome.UNKNOWN)
        if self.fault("send never left", 0.06):
            return SendResult(Outcome.NOT_SENT)
        request = _order_request(command)
        if self.fault("send arrives late", 0.12):
            self._late.append((self.true_ns + self.random.randrange(1, 8_000) * MILLISECOND_NS, [request]))
            return SendResult(Outcome.UNKNOWN)
        [answer] = self._place([request])
        return SendResult(Outcome.UNKNOWN) if self.fault("answer lost on the way back", 0.1) else answer

    def send_bracket(
        self, commands: Sequence[journal_pb2.VenueCommand], identity: str, session: int
    ) -> tuple[SendResult, ...]:
        """An entry and what protects it, on their way together: all of them share one fate."""
        entry = commands[0]
        self.note("is sent to the venue with what protects it", entry.client_order_id)
        self.referee.on_send(entry, identity, session, commands[1:])
        if self.fault("send lost on the way", 0.06):
            return tuple(SendResult(Outcome.UNKNOWN) for _ in commands)
        if self.fault("send never left", 0.06):
            return tuple(SendResult(Outcome.NOT_SENT) for _ in commands)
        requests = list(map(_order_request, commands))
        if self.fault("bracket arrives late", 0.12):
            self._late.append((self.true_ns + self.random.randrange(1, 8_000) * MILLISECOND_NS, requests))
            return tuple(SendResult(Outcome.UNKNOWN) for _ in commands)
        answers = self._place(requests)
        if self.fault("answer to a bracket lost", 0.1):
            return tuple(SendResult(Outcome.UNKNOWN) for _ in commands)
        return tuple(answers)

    def _place(self, requests: list[paper_pb2.PlaceOrderRequest]) -> list[SendResult]:
        try:
            if len(requests) == 1:
                orders = [self.venue.apply(Kind.PLACE_ORDER, requests[0], self.true_ns).order]
            else:
                bracket = paper_pb2.PlaceBracketRequest(orders=requests)
                orders = self.venue.apply(Kind.PLACE_BRACKET, bracket, self.true_ns).orders
        except (Refused, InvalidRequest) as error:
            return [SendResult(Outcome.REJECTED, reason=error.refusal()) for _ in requests]
        finally:
            self._hold_fees_back()
        return list(map(self._answer, orders))

    def _answer(self, order: paper_pb2.PaperOrder) -> SendResult:
        self.note(f"the venue says {order.status} {order.reason.reason}", order.client_order_id)
        self.referee.on_venue_has(order.client_order_id)
        outcome = Outcome.REJECTED if order.status == "REJECTED" else Outcome.ACCEPTED
        if outcome is Outcome.REJECTED:
            self.reached("order rejected by the venue")
        return SendResult(outcome, order.venue_order_id, order.reason if order.HasField("reason") else None)

    def _deliver_late_orders(self) -> None:
        for late in [late for late in self._late if late[0] <= self.true_ns]:
            self._late.remove(late)
            self.note("arrives at the venue only now", late[1][0].client_order_id)
            self._place(late[1])

    def ask(self, client_order_id: str, *, fence: bool, account: str = ACCOUNT) -> AskResult:
        if self.fault("venue does not answer", 0.2):
            return AskResult(Presence.UNKNOWN)
        request = paper_pb2.GetOrderRequest(account=account, client_order_id=client_order_id, fence=fence)
        if self.venue.needs_fence(request):
            self.venue.apply(Kind.FENCE_ORDER, request, self.true_ns)
        try:
            order = self.venue.get_order(request).order
        except NotFound as error:
            self.reached("order provably absent")
            self.note(f"the venue says that it is absent{' and fenced' if fence else ''}", client_order_id)
            return AskResult(Presence.ABSENT, reason=error.refusal())
        self.reached("order found after doubt")
        presence = Presence.REJECTED if order.status == "REJECTED" else Presence.FOUND
        return AskResult(presence, order.venue_order_id, order.reason if order.HasField("reason") else None)

    def cancel(self, command: journal_pb2.VenueCommand) -> SendResult:
        if self.fault("cancel lost", 0.1):
            return SendResult(Outcome.UNKNOWN)
        request = paper_pb2.CancelOrderRequest(account=command.account, client_order_id=command.client_order_id)
        try:
            order = self.venue.apply(Kind.CANCEL_ORDER, request, self.true_ns).order
        except (Refused, InvalidRequest) as error:
            return SendResult(Outcome.REJECTED, reason=error.refusal())
        self.reached("order canceled")
        self.note("the venue took a cancel", command.client_order_id)
        return SendResult(Outcome.ACCEPTED, order.venue_order_id)

    def venue_events(self, after_sequence: int, account: str = ACCOUNT) -> list[VenueEvent]:
        events: list[Event] = self.venue_account(account).events[after_sequence : after_sequence + 6]
        return [VenueEvent(event.sequence, event.time_ns, event.fact) for event in events]

    def portfolio(self, account: str = ACCOUNT) -> paper_pb2.GetPortfolioResponse:
        return self.venue.get_portfolio(paper_pb2.GetPortfolioRequest(account=account), self.true_ns)

    def _advance_venue(self) -> None:
        due_ns = self.venue.engine.next_deadline_ns()
        if due_ns is None or due_ns > self.true_ns:
            return
        fill_counts = [len(self.venue_account(name).fills) for name in self.accounts]
        self.venue.apply(Kind.ADVANCE, None, self.true_ns)
        for name, fill_count in zip(self.accounts, fill_counts, strict=True):
            account = self.venue_account(name)
            for fill in account.fills[fill_count:]:
                self.note(f"the venue fills {Number.of(fill.last_qty)}, {fill.execution_id}", fill.client_order_id)
                if account.orders[fill.client_order_id].life is Life.CANCELED:
                    self.reached("fill after the cancel")
        self._hold_fees_back()
        self.reached("late fill")

    def _hold_fees_back(self) -> None:
        """Of some fills the venue says only later what they cost."""
        for name in self.accounts:
            account = self.venue_account(name)
            for place in range(self._events_seen[name], len(account.events)):
                event = account.events[place]
                fact = event.fact
                if isinstance(fact, venue_pb2.Fill) and _is_part(fact, account):
                    self.reached("fill of a part")
                if not isinstance(fact, venue_pb2.Fill) or not self.fault("fee told late", 0.15):
                    continue
                told = venue_pb2.Fill()
                told.CopyFrom(fact)
                told.ClearField("fee")
                account.events[place] = Event(event.sequence, event.time_ns, told)
                due_ns = self.true_ns + self.random.randrange(1, 8_000) * MILLISECOND_NS
                self._unsettled.append((due_ns, name, fact))
            self._events_seen[name] = len(account.events)

    def _settle(self) -> None:
        """What was held back is said; not of a fill that was taken back or corrected meanwhile, which said it."""
        for one in [one for one in self._unsettled if one[0] <= self.true_ns]:
            self._unsettled.remove(one)
            _, name, fill = one
            account = self.venue_account(name)
            facts: list[object] = [event.fact for event in account.events]
            busts = [fact.execution_id for fact in facts if isinstance(fact, venue_pb2.FillBust)]
            if fill.execution_id in busts:
                continue
            more = fill.fee.units * self.random.choice((-2, 0, 3)) // 100  # than anybody would have predicted
            fill.fee.units += more
            account.wallet_units -= more
            settlement = venue_pb2.Settlement(
                execution_id=fill.execution_id, client_order_id=fill.client_order_id, symbol=fill.symbol, fee=fill.fee
            )
            account.say(self.true_ns, settlement)  # type: ignore[arg-type]  # the paper venue settles at once
            account.say(self.true_ns, account.balance(account.last_sequence + 1))
            self._events_seen[name] = len(account.events)
            self.note(f"the venue settles {fill.execution_id}", fill.client_order_id)

    # --- what strategies, operators and strangers do -------------------------------------------------------------

    def propose(self) -> None:
        """A new intent, mostly for a symbol in which nothing is open."""
        if self._proposed and self.random.random() < 0.3 and self._propose_again():
            return
        self._intent_count += 1
        account = self.random.choice(self.accounts)
        busy = {slot.instrument.symbol for slot in self.referee.open_slots(account)}
        free = [symbol for symbol in SYMBOLS if symbol not in busy]
        symbol = self.random.choice(free if free and self.random.random() < 0.9 else SYMBOLS)
        self._publish_intent(f"intent-{self.seed}-{self._intent_count}", 1, symbol, account)

    def _propose_again(self) -> bool:
        """A further attempt of an intent whose order ended without a fill: another price, another token.

        Or of one that still waits for a person, who may answer the older one last.
        """
        if self.random.random() < 0.3:
            waiting = [
                one for one in list(self._proposed.values())[-5:] if one.strategy == "manual" and one.attempt < 3
            ]
            for first in waiting[:1]:
                self._publish_intent(first.intent_id, first.attempt + 1, first.instrument.symbol, first.account)
            return bool(waiting)
        books = self.referee.books[self.random.choice(self.accounts)]
        for slot in list(books.slots.values())[-12:]:
            intent = self._proposed.get(slot.trade_id)
            if intent is None or not is_over(slot) or slot.entry.cum_qty.units or intent.attempt > 2:
                continue  # it is the policy's, or is not given up
            self._publish_intent(intent.intent_id, intent.attempt + 1, intent.instrument.symbol, intent.account)
            self.reached("further attempt")
            return True
        return False

    def _publish_intent(self, intent_id: str, attempt: int, symbol: str, account: str = ACCOUNT) -> None:
        reference_units = self._price_units[symbol]
        is_buy, is_limit = self.random.random() < 0.5, self.random.random() < 0.4
        away = self.random.randrange(0, 3) * (-1 if is_buy else 1)  # per cent: some rest until they are canceled
        by_person = self.random.random() < 0.2
        is_bracket = self.chance("bracket proposed", 0.35)
        # Those of a bracket are near enough to be met while it is open; a limit may lie 2 % below the price itself.
        stop = self.random.choice((970, 970 if is_limit else 996)) if is_bracket else 950
        target = self.random.choice((0, 1003, 1010)) if is_bracket else 0
        intent = intent_pb2.Intent(
            intent_id=intent_id,
            account=account,
            venue=VENUE,
            environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=_instrument(symbol),
            side=common_pb2.SIDE_BUY if is_buy else common_pb2.SIDE_SELL,
            order_qty=Number(self.random.randrange(5, 60), 0).message(),
            order_type=common_pb2.ORDER_TYPE_LIMIT if is_limit else common_pb2.ORDER_TYPE_MARKET,
            price=_price(reference_units, 1000 + 10 * away) if is_limit else None,
            time_in_force=common_pb2.TIME_IN_FORCE_GTC if is_limit else common_pb2.TIME_IN_FORCE_DAY,
            stop_price=_price(reference_units, stop if is_buy else 2000 - stop),
            target_price=_price(reference_units, target if is_buy else 2000 - target) if target else None,
            bracket=is_bracket,
            reference_price=Number(reference_units, 4).message(),
            leverage=1,
            strategy=self.random.choice(("momentum", "momentum", "manual"))
            if attempt == 1
            else self._strategy_of(intent_id),
            attempt=attempt,
            anchor=common_pb2.StateAnchor(hash="ab" * 32, as_of_ns=self.now_ns),
            proposer=self.random.choice(self.people) if by_person else common_pb2.Actor(id="policy", kind="strategy"),
            created_at_ns=self.now_ns,
            expires_at_ns=self.now_ns + self.random.choice((2 * SECOND_NS, 30 * SECOND_NS, 10 * MINUTE_NS)),
        )
        self._proposed[intent_id] = intent
        self.publish(effects.publish(subjects.intent(account), intent, f"{intent_id}-{attempt}"))
        if self.fault("garbage in the inbox", 0.03):
            garbage = f"garbage-{intent_id}-{attempt}"
            self.publish(Publish(self._door(account, "exit"), b"\xff\xff garbage", garbage))

    def _strategy_of(self, intent_id: str) -> str:
        return self._proposed[intent_id].strategy

    def request_exit(self) -> None:
        for books in self._shuffled_books():
            for slot in self.referee.open_slots(books.account):
                patience = (
                    0.06 if slot.is_bracket else 0.3
                )  # what is protected is mostly left to its stop and its target
                if self.random.random() < (patience if slot.qty.units else 0.02):
                    self._request_exit(slot.trade_id, f"{self.now_ns}", books.account)
                    return

    def request_cancel(self) -> None:
        for books in self._shuffled_books():
            for slot in self.referee.open_slots(books.account):
                if slot.entry.life in WORKING and self.random.random() < 0.5:
                    self._request_cancel(slot.entry.client_order_id, books.account)
                    return

    def _shuffled_books(self) -> list[Books]:
        return self.random.sample(list(self.referee.books.values()), len(self.accounts))

    def stranger_trades(self) -> None:
        """Somebody else on the account works an order: ours must not move, and nobody may call it ours."""
        self._stranger_count += 1
        request = paper_pb2.PlaceOrderRequest(
            account=self.random.choice(self.accounts),
            client_order_id=f"zz-stranger-{self._stranger_count}",
            symbol=STRANGER_SYMBOL,
            side=common_pb2.SIDE_BUY,
            order_qty=Number(1, 0).message(),
            order_type=common_pb2.ORDER_TYPE_LIMIT,
            price=Number(100, 4).message(),
            time_in_force=common_pb2.TIME_IN_FORCE_GTC,
        )
        self.venue.apply(Kind.PLACE_ORDER, request, self.true_ns)

    def induce_drift(self, qty: int, account: str = "") -> None:
        """The venue's book changes behind everybody's back, once for an account."""
        books = self.referee.books[account or self.random.choice(self.accounts)]
        if books.drift_symbol and not account:
            return
        request = paper_pb2.InduceDriftRequest(account=books.account, symbol=DRIFT_SYMBOL, qty=Number(qty, 0).message())
        self.venue.apply(Kind.INDUCE_DRIFT, request, self.true_ns)
        books.drift_symbol = DRIFT_SYMBOL
        self.note(f"the venue's position of {books.account} in {DRIFT_SYMBOL} drifts by {qty}")

    def bust_a_fill(self) -> None:
        """The venue takes back the newest fill of a trade that is open; what the order had left is over, too."""
        books = self.random.choice(list(self.referee.books.values()))
        fill, account = self._newest_fill(books), books.venue
        if fill is None:
            return
        account.wallet_units += Number.of(fill.fee).at(8).units
        with self._books_again(books, fill.symbol):
            account.say(  # the paper venue itself takes nothing back, so its events know no such fact
                self.true_ns,
                venue_pb2.FillBust(execution_id=fill.execution_id, client_order_id=fill.client_order_id),  # type: ignore[arg-type]
            )
        order = account.orders[fill.client_order_id]
        order.cum_qty_units -= fill.last_qty.units
        order.life = Life.CANCELED
        report = venue_pb2.OrderReport(
            fact=venue_pb2.ORDER_FACT_CANCELED,
            client_order_id=fill.client_order_id,
            venue_order_id=order.venue_order_id,
        )
        account.say(self.true_ns, report)
        account.say(self.true_ns, account.balance(account.last_sequence + 1))
        self.note(f"the venue takes back {fill.execution_id}", fill.client_order_id)

    def correct_a_fill(self) -> None:
        """The venue says that the newest fill of an open trade was at another price."""
        books = self.random.choice(list(self.referee.books.values()))
        fill, account = self._newest_fill(books), books.venue
        if fill is None:
            return
        with self._books_again(books, fill.symbol):
            corrected = venue_pb2.Fill()
            corrected.CopyFrom(fill)
            corrected.last_price.units += self.random.choice((-100, 100))
            account.fills = [corrected if one is fill else one for one in account.fills]
            account.say(
                self.true_ns,
                venue_pb2.FillBust(  # type: ignore[arg-type]
                    execution_id=fill.execution_id, client_order_id=fill.client_order_id, corrected=corrected
                ),
            )
        account.say(self.true_ns, account.balance(account.last_sequence + 1))
        self.note(f"the venue corrects {fill.execution_id}", fill.client_order_id)

    def _newest_fill(self, books: Books) -> venue_pb2.Fill | None:
        """Of a trade that is open, if it was not taken back."""
        open_slots = self.referee.open_slots(books.account)
        ours = {order for slot in open_slots for order in self.referee.orders_of(slot.trade_id)}
        fill = next((one for one in reversed(books.venue.fills) if one.client_order_id in ours), None)
        return None if fill is None or fill.execution_id in books.taken_back_at_venue() else fill

    @contextmanager
    def _books_again(self, books: Books, symbol: str) -> Iterator[None]:
        """What is done inside changes the past of a position: it and the money follow."""
        _, before = self._booked(books, symbol)
        yield
        books.venue.positions[symbol], after = self._booked(books, symbol)
        books.venue.wallet_units += after - before

    def _booked(self, books: Books, symbol: str) -> tuple[Position, int]:
        """What a position is, and has realized, by the fills that stand."""
        position, realized = Position(), 0
        instrument = self.venue.engine.market(symbol).instrument
        taken_back = books.taken_back_at_venue()
        for fill in books.venue.fills:
            if fill.symbol == symbol and fill.execution_id not in taken_back:
                units = fill.last_qty.units if fill.side == common_pb2.SIDE_BUY else -fill.last_qty.units
                realized += position.book(instrument, units, fill.last_price.units)
        return position, realized

    def move_prices(self) -> None:
        symbol = self.random.choice(SYMBOLS)
        self._price_units[symbol] = max(500_000, self._price_units[symbol] + self.random.randrange(-8, 9) * 1000)
        self._bar_count += 1
        bar = _bar(symbol, self._price_units[symbol], START_NS + self._bar_count * MILLISECOND_NS)
        self.venue.apply(Kind.PUBLISH_BAR, paper_pb2.PublishBarRequest(bar=bar), self.true_ns)
        self._hold_fees_back()

    def end_a_day(self) -> None:
        """The venue's bars of the day are on the bus, as a gateway puts them there."""
        self._day += 1
        for symbol in DAILY_SYMBOLS:
            bar = _bar(symbol, self._price_units[symbol], START_NS + self._day * DAY_NS)
            self.publish(effects.publish(subjects.market(VENUE, symbol), bar, f"bar-{VENUE}-{symbol}-{self._day}"))

    def _open_market(self) -> None:
        for account in self.accounts:
            opened = paper_pb2.OpenAccountRequest(account=account, wallet=WALLET.message(), currency="USD")
            self.venue.apply(Kind.OPEN_ACCOUNT, opened, self.true_ns)
        mode = paper_pb2.SetModeRequest(
            mode=paper_pb2.MATCHING_MODE_ADVERSARIAL, seed=self.seed, delay_scale_permille=300
        )
        self.venue.apply(Kind.SET_MODE, mode, self.true_ns)
        for symbol in (*SYMBOLS, STRANGER_SYMBOL, DRIFT_SYMBOL):
            bar = _bar(symbol, 1_000_000, START_NS)
            self.venue.apply(Kind.PUBLISH_BAR, paper_pb2.PublishBarRequest(bar=bar), self.true_ns)

    def _grant_mandate(self, account: str) -> None:
        mandate = authority_pb2.Mandate(
            mandate_id=f"mandate-{account}",
            strategy="momentum",
            account=account,
            max_order_notional=Number(1_000_000, 0).message(),
            environment=common_pb2.ENVIRONMENT_PAPER,
            not_before_ns=self.now_ns,
            expires_at_ns=self.now_ns + 30 * DAY_NS,
            granted_by=self.people[0],
            granted_at_ns=self.now_ns,
        )
        bead = audit_pb2.Bead(bead_id=mandate.mandate_id, account=account, created_at_ns=self.now_ns, mandate=mandate)
        self.publish(effects.bead(bead))

    def _door(self, account: str, door: str) -> str:
        return subjects.inbox(partition_of(account, self.partition_count), account, door)

    def _request_exit(self, trade_id: str, cause: str, account: str = ACCOUNT) -> None:
        request = intent_pb2.ExitRequest(
            request_id=derived_id("exit-request", trade_id, cause),
            account=account,
            trade_id=trade_id,
            order_type=common_pb2.ORDER_TYPE_MARKET,
            reason="sim",
            requested_by=self.people[0],
            requested_at_ns=self.now_ns,
        )
        message = inbox_pb2.InboxMessage(exit=request)
        self.publish(effects.publish(self._door(account, "exit"), message, request.request_id))

    def _request_cancel(self, client_order_id: str, account: str = ACCOUNT) -> None:
        control = inbox_pb2.Control(
            request_id=derived_id("cancel", client_order_id, self.now_ns),
            account=account,
            action=inbox_pb2.CONTROL_ACTION_CANCEL_ORDER,
            client_order_id=client_order_id,
            requested_by=self.people[0],
        )
        message = inbox_pb2.InboxMessage(control=control)
        self.publish(effects.publish(self._door(account, "control"), message, control.request_id))

    # --- coming to rest ------------------------------------------------------------------------------------------

    def _leave_open_trades(self) -> None:
        self.move_prices()
        for account in self.accounts:
            for slot in self.referee.open_slots(account):
                if slot.stage not in OVER:
                    self._request_exit(slot.trade_id, f"rest-{self.now_ns}", account)
                if slot.entry.life == state_pb2.ORDER_LIFE_OPEN:
                    self._request_cancel(slot.entry.client_order_id, account)

    def _unrest(self) -> str:
        """What is still going on; empty at rest."""
        if unjournaled := self.referee.unjournaled():
            return f"{unjournaled} inputs are not journaled"
        if self.referee.alerts_due:
            return f"{len(self.referee.alerts_due)} alerts were never published"
        if open_slots := self.referee.open_slots():
            return f"{len(open_slots)} open trades: " + ", ".join(
                f"{slot.trade_id} {state_pb2.SlotStage.Name(slot.stage)}" for slot in open_slots[:4]
            )
        behind = [
            name
            for name in (*self.journals, *STORED_STREAMS)
            if self.database.position(name).sequence < self.bus.last_sequence(name)
        ]
        if behind:
            return f"the database lacks what is in {', '.join(behind)}"
        if self.referee.unheard():
            return "the venue said something that is not stored yet"
        if self._late:
            return "an order is on its way to the venue"
        if self._unsettled:
            return "the venue has not said yet what a fill costs"
        return next(filter(None, map(self._unrest_of, self.referee.books.values())), "")

    def _unrest_of(self, books: Books) -> str:
        ours = [order for name, order in books.venue.orders.items() if name.startswith(CLIENT_ORDER_ID_PREFIX)]
        if working := [order for order in ours if order.life is Life.WORKING]:
            return f"{len(working)} orders work at the venue that no trade knows"
        if books.drift_symbol and not books.drift_seen:
            return f"the reconciler has not found the drift in {books.drift_symbol}"
        if books.drift_symbol and books.venue.positions[DRIFT_SYMBOL].qty_units:
            self.induce_drift(-DRIFT_QTY, books.account)
        return ""


class TearingDisk(SimulatedDisk):
    """What is saved is now and then cut off, or has a byte that is another one."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    async def save(self, name: str, data: bytes) -> None:
        self._world.referee.on_snapshot(data)
        if self._world.fault("snapshot torn", 0.4):
            place = self._world.random.randrange(len(data))
            changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            data = data[:place] if self._world.random.random() < 0.5 else changed
        await super().save(name, data)

    async def load(self, name: str) -> bytes | None:
        data = await super().load(name)
        if data is not None and hashlib.sha256(data[32:]).digest() != data[:32]:
            self._world.reached("torn snapshot found")
        return data


def _is_part(fill: venue_pb2.Fill, account: Account) -> bool:
    return fill.last_qty.units < account.orders[fill.client_order_id].order_qty_units


def _order_request(command: journal_pb2.VenueCommand) -> paper_pb2.PlaceOrderRequest:
    """As the gateway's connector asks the paper venue."""
    leaves = command.kind != journal_pb2.COMMAND_KIND_SUBMIT_ENTRY
    protects = command.kind == journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE
    return paper_pb2.PlaceOrderRequest(
        account=command.account,
        client_order_id=command.client_order_id,
        symbol=command.instrument.symbol,
        side=command.side,
        order_qty=command.order_qty,
        order_type=command.order_type,
        price=command.price if command.HasField("price") else None,
        time_in_force=command.time_in_force,
        reduce_only=leaves,
        group=command.group if leaves else "",
        parent_client_order_id=command.group if protects else "",
    )


@lru_cache(maxsize=64)  # not to be changed: a message that it is put into has a copy of its own
def _instrument(symbol: str) -> common_pb2.Instrument:
    return common_pb2.Instrument(
        symbol=symbol, version=1, currency="USD", price_scale=4, qty_scale=0, tick_units=100, lot_units=1, multiplier=1
    )


def _bar(symbol: str, price_units: int, start_ns: int) -> venue_pb2.Bar:
    price = Number(price_units, 4).message()
    return venue_pb2.Bar(
        venue=VENUE,
        instrument=_instrument(symbol),
        open=price,
        high=price,
        low=price,
        close=price,
        volume=Number(1_000_000, 0).message(),
        start_ns=start_ns,
        interval_ns=MILLISECOND_NS,
    )


def _price(units: int, permille: int) -> common_pb2.Decimal:
    """A share of a price, to the tick."""
    return Number(units * permille // 1000 // 100 * 100, 4).message()


def _person(name: str) -> common_pb2.Actor:
    return common_pb2.Actor(id=name, kind="operator")


def _configuration(account: str) -> state_pb2.AccountConfiguration:
    return state_pb2.AccountConfiguration(
        account=account,
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


def _limits(names: tuple[str, ...]) -> RiskLimits:
    accounts = tuple(AccountSettings(account=name, venue=VENUE, currency="USD") for name in names)
    settings = RiskSettings(
        order_notional_ratio_max="0.01", symbol_exposure_ratio_max="0.015", total_exposure_ratio_max=EXPOSURE_RATIO_MAX
    )
    return settings.limits(common_pb2.ENVIRONMENT_PAPER, accounts)


def _exposure_max() -> Number:
    """The limit, and a twentieth: equity moves a little, and fills are not exactly at the price of the decision."""
    return WALLET * Number.parse(EXPOSURE_RATIO_MAX) * Number.parse("1.05")
