"""A world whose venue proves nothing: it numbers nothing, fences nothing, and takes an id as often as it is sent.

The paper venue's engine still does the trading. What changes is how it is reached: a connection tells everything again
from the beginning whenever it is made, an answer "not found" holds for this moment only, corrections have ids of their
own, and two messages under one id would be two orders. Only one connection at a time is let in, the newest, as a client
id does at Interactive Brokers: what an older session still sends goes nowhere.

A person looks after doubts: whoever gives up an order has made sure that it is not under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import effects, subjects
from kestrel_domain.timestamps import SECOND_NS
from kestrel_simulators.matching.books import Account, Event
from kestrel_testkit.world import Message
from kestrel_venue_gateway.core import reports, submission
from kestrel_venue_gateway.core.reports import VenueEvent
from kestrel_venue_gateway.core.submission import AskResult, Outcome, Presence, SendResult
from kestrel_venue_gateway.core.traits import WEAK, Traits, VenueState
from tests.simulation import nodes
from tests.simulation.nodes import ACCOUNT, VENUE, GatewayState, Node, Steps
from tests.simulation.referee import WORKING, Books, Referee, Violation, require
from tests.simulation.world import World

TRAITS: Traits = WEAK
"""What the gateway is told of the venue; a planted bug tells it more than is true."""

_BATCH = 12
_MORE_OFTEN = {
    "answer lost on the way back": 8,
    "answer to a bracket lost": 3,
    "bracket arrives late": 2,
    "fill busted": 2,
    "fill corrected": 3,
    "gateway killed": 2,
    "send arrives late": 3,
    "send lost on the way": 3,
    "send never left": 4,
    "spend unknown": 3,
}
"""By how much the faults that this world is about are more frequent in it."""
_LIKELIER = {"person kills": 0.1, "person answers": 2.0, "person looks": 2.0, "person passes": 0.2}
"""And people let more orders pass."""

_PATIENCE_NS = 4 * SECOND_NS
"""How long a person waits for a cancel to have an effect before he asks for it again."""

_NOT_CONNECTED = common_pb2.Refusal(reason="NOT_CONNECTED", message="there is no connection")
_NOT_RECONCILED = common_pb2.Refusal(reason="NOT_RECONCILED", message="the venue still repeats what it knows")


# --- what the venue says, without numbers --------------------------------------------------------------------------


def unnumbered(account: Account, event: Event) -> tuple[reports.Fact, str]:
    """A fact as such a venue tells it, and what makes it this fact."""
    fact = event.fact
    if isinstance(fact, venue_pb2.Fill):
        return fact, fact.execution_id
    if isinstance(fact, venue_pb2.FillBust):
        return _bust_of_newest(account, event, fact)
    if isinstance(fact, venue_pb2.Settlement):
        return fact, f"fee-{fact.execution_id}"
    if isinstance(fact, venue_pb2.OrderReport):
        return fact, f"{fact.client_order_id}-{fact.fact}-{event.sequence}"
    return fact, f"balance-{event.sequence}"


def _bust_of_newest(account: Account, event: Event, fact: venue_pb2.FillBust) -> tuple[venue_pb2.FillBust, str]:
    """A correction has an id of its own, and the next one is a correction of that."""
    earlier: list[object] = [one.fact for one in account.events[: event.sequence - 1]]
    corrections = sum(
        isinstance(one, venue_pb2.FillBust) and one.execution_id == fact.execution_id and one.HasField("corrected")
        for one in earlier
    )
    told = venue_pb2.FillBust()
    told.CopyFrom(fact)
    told.execution_id = _revision(fact.execution_id, corrections)
    if not told.HasField("corrected"):
        return told, f"bust-{told.execution_id}"
    told.corrected.execution_id = _revision(fact.execution_id, corrections + 1)
    return told, told.corrected.execution_id


def _revision(execution_id: str, corrections: int) -> str:
    return f"{execution_id}.{corrections + 1:02}" if corrections else execution_id


def told_key(report: venue_pb2.VenueReport) -> str:
    """What must be told once; empty for what may be told again."""
    match report.WhichOneof("body"):
        case "fill":
            return report.fill.execution_id
        case "bust" if report.bust.HasField("corrected"):
            return report.bust.corrected.execution_id
        case "bust":
            return f"bust-{report.bust.execution_id}"
        case "settlement":
            return f"fee-{report.settlement.execution_id}"
    return ""


# --- the gateway's node --------------------------------------------------------------------------------------------


class WeakGateway(GatewayState):
    """A session, and how far its connection has got."""

    def __init__(self, world: WeakWorld, account: str) -> None:
        super().__init__(world, account)
        self.gate = replace(self.gate, traits=TRAITS, run=str(self.session))
        self.world = world
        # Of the venue's events, how many this connection has told; None: there is none.
        self.position: int | None = None
        self.repeats_until = 0
        self.doubtful: set[str] = set()
        self.told: set[str] = set()
        self.told_before = frozenset(world.told[account])
        world.newest_session[account] = self.session

    @property
    def state(self) -> VenueState:
        if self.position is None:
            return VenueState(cut_off=_NOT_CONNECTED)
        return VenueState(degraded=_NOT_RECONCILED if self.position < self.repeats_until else None)

    def count_at_venue(self) -> int:
        """The number of the last event that a portfolio of this moment contains, as we count."""
        behind = self.world.venue_account(self.account).last_sequence - (self.position or 0)
        return self.watermark + behind

    def learn_stored(self, report: venue_pb2.VenueReport) -> None:
        self.book.known.learn_ahead(report)
        self.told.add(told_key(report))


def gateway(world: World, account: str = ACCOUNT) -> Steps:
    """One session at a venue that proves nothing."""
    assert isinstance(world, WeakWorld)
    yield from nodes.gateway_session(world, WeakGateway(world, account), _advance, _hear_venue, _publish_truth)


def _advance(world: WeakWorld, state: WeakGateway, trade_id: str) -> Steps:
    """One effect of one command of a trade: of the oldest, or of one that only those in doubt are ahead of."""
    lane = state.lanes[trade_id]
    blocking = next((place for place, entry in enumerate(lane) if entry[0].identity not in state.doubtful), len(lane))
    place = world.random.randrange(min(blocking + 1, len(lane)))
    yield
    commission, steps, result = lane[place]
    try:
        effect = steps.send(result)
    except StopIteration:
        lane.pop(place)
        if not lane:
            del state.lanes[trade_id]
        return
    if isinstance(effect, submission.Wait):
        state.doubtful.add(commission.identity)
    lane[place] = (commission, steps, _effect_result(world, effect, commission, state))


def _effect_result(
    world: WeakWorld, effect: submission.Effect, commission: submission.Commission, state: WeakGateway
) -> object:
    match effect:
        case submission.ReadVenueState():
            return state.state
        case submission.Recall(client_order_id):
            return state.book.known.order(client_order_id)
        case submission.Wait():
            return state.book.is_settled(commission.identity)
        case submission.Spend() | submission.ReadSpend():
            mark = nodes._effect_result(world, effect, commission, state)
            return _whose(world, effect) if mark is submission.SpendResult.TAKEN else mark
        case submission.Record(report):
            nodes._effect_result(world, effect, commission, state)
            state.learn_stored(report)
            return None
        case submission.Ask() | submission.Cancel() if world.is_closed(state.account, state.session):
            return AskResult(Presence.UNKNOWN) if isinstance(effect, submission.Ask) else SendResult(Outcome.UNKNOWN)
    return nodes._effect_result(world, effect, commission, state)


def _whose(world: WeakWorld, effect: submission.Spend | submission.ReadSpend) -> submission.SpendResult:
    found = world.bus.get(subjects.SPENT_BUCKET, effect.key)
    assert found is not None
    return submission.whose_mark(found[0].decode(), effect.identity)


def _hear_venue(world: WeakWorld, state: WeakGateway) -> Steps:
    """What the connection tells, filtered by what is known; a new connection begins from the beginning."""
    if world.is_closed(state.account, state.session) or world.fault("venue silent", 0.1):
        return
    account = world.venue_account(state.account)
    if state.position is None:
        if world.fault("connection refused", 0.2):
            return
        state.position, state.repeats_until = 0, account.last_sequence
        world.reached("venue repeats everything")
    elif world.fault("connection breaks", 0.03):
        state.position = None
        return
    batch = account.events[state.position : state.position + _BATCH]
    if not batch:
        return
    newest_balance = max((one.sequence for one in batch if isinstance(one.fact, venue_pb2.Balance)), default=0)
    heard, count = [], state.watermark
    for event in batch:
        is_repeated = event.sequence <= state.repeats_until
        if isinstance(event.fact, venue_pb2.Balance) and is_repeated and event.sequence != newest_balance:
            continue  # of balances, the venue tells the one that holds
        fact, key = unnumbered(account, event)
        count += 1
        result = reports.hear(
            VenueEvent(count, event.time_ns, fact, key),
            account=state.account,
            venue=VENUE,
            our_symbols=state.book.symbols_ordered,
            known=state.book.known,
        )
        world.reached(f"event {result.dropped or 'told'}")
        if result.alert is not None and result.alert.reason == "ORDER_CAME_BACK":
            raise Violation("an order came back that a person had made sure of", result.alert.subject_id)
        if result.report is not None:
            world.on_told(result.report, state)
            state.book.known.learn_ahead(result.report)
            heard.append(result.report)
    state.position = batch[-1].sequence
    for place, report in enumerate(heard):
        yield
        is_last = place == len(heard) - 1
        trace = state.book.traceparent(reports.client_order_id_of(report))
        watermark = count if is_last else state.watermark
        world.publish(nodes._report_effect(report, watermark, trace, state.partition))
    state.watermark = count
    state.wants_truth = True


def _publish_truth(world: WeakWorld, state: WeakGateway) -> Steps:
    steps = nodes._publish_truth(world, state)
    while True:
        world.asking = state
        try:
            next(steps)
        except StopIteration:
            return
        yield


# --- the world and its referee -------------------------------------------------------------------------------------


@dataclass
class WeakBooks(Books):
    """How far the venue was heard is told by what is stored, as no report says it in the venue's numbers."""

    told: set[str] = field(default_factory=set)
    balance_told: int = 0

    def take(self, report: venue_pb2.VenueReport) -> None:
        self.told.add(told_key(report))
        self.balance_told = max(self.balance_told, report.balance.venue_sequence)
        events = self.venue.events
        while self.watermark < len(events) and self._is_heard(events[self.watermark]):
            self.watermark += 1

    def _is_heard(self, event: Event) -> bool:
        fact, key = unnumbered(self.venue, event)
        if isinstance(fact, venue_pb2.Balance):
            return event.sequence <= self.balance_told
        if isinstance(fact, venue_pb2.FillBust | venue_pb2.Settlement) and key not in self.told:
            return self._booked_key(fact) in self.told
        return not isinstance(fact, venue_pb2.Fill) or key in self.told or not fact.client_order_id.startswith("ks")

    @staticmethod
    def _booked_key(fact: venue_pb2.FillBust | venue_pb2.Settlement) -> str:
        """As it is told after a correction: under the id that was booked."""
        stem = fact.execution_id.partition(".")[0]
        return f"bust-{stem}" if isinstance(fact, venue_pb2.FillBust) else f"fee-{stem}"


class WeakReferee(Referee):
    """The same invariants; marks of attempts, and no numbers to go by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.books = {name: WeakBooks(name, books.partition, books.venue) for name, books in self.books.items()}

    def _on_report(self, report: venue_pb2.VenueReport) -> None:
        plain = venue_pb2.VenueReport()
        plain.CopyFrom(report)
        plain.venue_watermark = 0
        super()._on_report(plain)
        if report.order.fact == venue_pb2.ORDER_FACT_IN_DOUBT:
            # The kernel, which journals this, tells people, in the words that are given here.
            require(
                bool(report.order.reason.message),
                "an order is in doubt, and nobody was told why",
                report.order.client_order_id,
            )
            self.counters["doubt told"] += 1
        books = self.books[report.account]
        assert isinstance(books, WeakBooks)
        books.take(report)

    def _check_mark(self, key: str, identity: str, order: str) -> None:
        if key != order:
            return super()._check_mark(key, identity, order)
        attempt = 1
        while self.bus.get(subjects.SPENT_BUCKET, f"{order}.{attempt}.unsent") is not None:
            attempt += 1
        found = self.bus.get(subjects.SPENT_BUCKET, f"{order}.{attempt}")
        require(found is not None, "sent before it was marked as begun", order)
        assert found is not None
        mark = submission.whose_mark(found[0].decode(), identity)
        require(mark is submission.SpendResult.EARLIER, "sent on another command's mark", order)
        return None


class WeakWorld(World):
    """One seeded run at a venue that proves nothing."""

    def __post_init__(self) -> None:
        self.newest_session: dict[str, int] = {}
        self.asking: WeakGateway | None = None
        self._asked_at_ns: dict[str, int] = {}
        super().__post_init__()
        self.told: dict[str, set[str]] = {name: set() for name in self.accounts}
        self.nodes = {
            name: Node(node.kind, partial(gateway, account=node.start.keywords["account"]))  # type: ignore[attr-defined]
            if node.kind == "gateway"
            else node
            for name, node in self.nodes.items()
        }
        self.referee = WeakReferee(
            self.bus,
            self.referee.venue_accounts,
            self.referee.key,
            self.referee.exposure_max,
            self.partition_count,
        )

    def fault(self, name: str, probability: float) -> bool:
        if not self.faults_on or self._draw() >= probability * _MORE_OFTEN.get(name, 1) or name in self.without:
            return False
        self.met(name)
        return True

    def chance(self, name: str, probability: float) -> bool:
        return super().chance(name, probability * _LIKELIER.get(name, 1))

    def _layout(self) -> tuple[tuple[str, ...], int]:
        """One account: everything happens to the same gateway."""
        return (ACCOUNT,), 1

    def publish(self, effect: effects.Publish, *, expected_last_sequence: int | None = None) -> Message:
        stored = super().publish(effect, expected_last_sequence=expected_last_sequence)
        if effect.subject.startswith("inbox.") and effect.subject.endswith(".venue"):
            report = inbox_pb2.InboxMessage.FromString(stored.data).venue
            self.told[report.account].add(told_key(report))
        return stored

    def on_told(self, report: venue_pb2.VenueReport, state: WeakGateway) -> None:
        """A session that holds the login tells nothing that it or another one told before it began."""
        key = told_key(report)
        again = bool(key) and (key in state.told_before or key in state.told)
        require(not again, f"{key} is told again", reports.client_order_id_of(report))
        state.told.add(key)

    # --- how the venue is reached --------------------------------------------------------------------------------

    def is_closed(self, account: str, session: int) -> bool:
        """A newer session has connected under the same client id."""
        return self.newest_session[account] != session

    def send(self, command: journal_pb2.VenueCommand, identity: str, session: int) -> SendResult:
        if self.is_closed(command.account, session):
            self.reached("send on a closed connection")
            return SendResult(Outcome.NOT_SENT)
        return super().send(command, identity, session)

    def send_bracket(
        self, commands: Sequence[journal_pb2.VenueCommand], identity: str, session: int
    ) -> tuple[SendResult, ...]:
        if self.is_closed(commands[0].account, session):
            self.reached("send on a closed connection")
            return tuple(SendResult(Outcome.NOT_SENT) for _ in commands)
        return super().send_bracket(commands, identity, session)

    def _place(self, requests: list[paper_pb2.PlaceOrderRequest]) -> list[SendResult]:
        for request in requests:
            is_there = request.client_order_id in self.venue_account(request.account).orders
            require(not is_there, "one order, twice at the venue", request.client_order_id)
        return super()._place(requests)

    def ask(self, client_order_id: str, *, fence: bool, account: str = ACCOUNT) -> AskResult:
        answer = super().ask(client_order_id, fence=False, account=account)
        if answer.presence is Presence.ABSENT:
            self.reached("absent, which proves nothing")
        return answer

    def portfolio(self, account: str = ACCOUNT) -> paper_pb2.GetPortfolioResponse:
        answer = paper_pb2.GetPortfolioResponse()
        answer.CopyFrom(super().portfolio(account))
        assert self.asking is not None
        answer.event_sequence = self.asking.count_at_venue()
        return answer

    # --- what people do about doubts -----------------------------------------------------------------------------

    def request_exit(self) -> None:
        """Whatever is open is left while there are still faults to meet on the way out."""
        for slot in self.referee.open_slots(ACCOUNT):
            if slot.qty.units and self.random.random() < 0.7:
                self._request_exit(slot.trade_id, f"{self.now_ns}")

    def request_cancel(self) -> None:
        super().request_cancel()
        self._look_into_doubts(0.3)

    def _leave_open_trades(self) -> None:
        super()._leave_open_trades()
        self._look_into_doubts(1.0)

    def _look_into_doubts(self, probability: float) -> None:
        for books in self.referee.books.values():
            for slot in self.referee.open_slots(books.account):
                for order in (slot.entry, slot.exit, slot.stop, slot.target):
                    if _is_doubtful(order) and self.random.random() < probability:
                        self._request_cancel(order.client_order_id, books.account)

    def _request_cancel(self, client_order_id: str, account: str = ACCOUNT) -> None:
        """Nobody gives up what may still arrive."""
        late = {request.client_order_id for _, requests in self._late for request in requests}
        if client_order_id in late:
            self.reached("person waits for what is under way")
            return
        if self.true_ns < self._asked_at_ns.get(client_order_id, -_PATIENCE_NS) + _PATIENCE_NS:
            return
        self._asked_at_ns[client_order_id] = self.true_ns
        super()._request_cancel(client_order_id, account)


def _is_doubtful(order: state_pb2.OrderView) -> bool:
    return order.life in WORKING and order.in_doubt


def is_weak(seed: int) -> bool:
    """Every fourth seed is a world whose venue proves nothing."""
    return seed % 4 == 0


def world_of(seed: int, without: frozenset[str] = frozenset()) -> World:
    """The world of a seed, which also chooses the venue. ``without``: kinds of faults to leave out."""
    return WeakWorld(seed, without=without) if is_weak(seed) else World(seed, without=without)
