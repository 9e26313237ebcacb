"""The stand a card runs on: one connection to a venue, everything heard from it, and what may be done to it.

The stand listens as a session of the gateway does: it goes on after every break, learns what was told, and never asks
to be told twice. After every card ``adds_up`` holds the venue's own ledger against what was heard: no order of ours
arrived twice, no execution is missing, none was heard twice. So each card also searches for the two worst things.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, TypeVar

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import RemoteProtocolError, Unavailable
from kestrel_domain.identifiers import CLIENT_ORDER_ID_PREFIX, derived_id
from kestrel_domain.numbers import Number
from kestrel_testkit.fixtures import eventually
from kestrel_venue_gateway.core import reports
from kestrel_venue_gateway.core.admission import STOP_SUFFIX, TARGET_SUFFIX
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.reports import VenueEvent
from kestrel_venue_gateway.core.submission import AskResult, Outcome, Presence, SendResult
from kestrel_venue_gateway.core.truth import Portfolio
from kestrel_venue_gateway.shell.venue import Venue

PATIENCE_S = 60.0
PRICE_SCALE = 4
FIRST_PRICE = "100.00"
"""What every simulated symbol costs when a card begins."""
BUY, SELL = common_pb2.SIDE_BUY, common_pb2.SIDE_SELL
MARKET, LIMIT, STOP = common_pb2.ORDER_TYPE_MARKET, common_pb2.ORDER_TYPE_LIMIT, common_pb2.ORDER_TYPE_STOP
DAY, GTC = common_pb2.TIME_IN_FORCE_DAY, common_pb2.TIME_IN_FORCE_GTC


_Fact = TypeVar("_Fact")


class Need(Enum):
    """What a card asks of the place it runs at. A place that lacks it leaves the card out, and says so."""

    TRADES = "orders may be filled"
    PRICES = "the market can be moved"
    FAULTS = "faults can be switched on"
    PROCESS = "the venue's process can be killed and started"
    BACK_OFFICE = "trades of others, corrections and the link to the market can be induced"


@dataclass(frozen=True, slots=True)
class LedgerExecution:
    """One execution as the venue itself keeps it."""

    execution_id: str
    client_order_id: str
    qty: Number
    price: Number


@dataclass(frozen=True, slots=True)
class Ledger:
    """The venue's own books, read through its back door.

    ``orders``: the client order ids it has, or had; ``arrivals``: how often an order came in under each, taken or not.
    """

    orders: frozenset[str]
    arrivals: dict[str, int]
    executions: Sequence[LedgerExecution]


class BackDoor(Protocol):
    """What a simulated venue lets a test do to it. A real one has none."""

    async def price(self, symbol: str, price: str) -> None:
        """Move the market of a symbol, known or new, to a price."""

    async def kill(self) -> None:
        """End the venue's process with no warning."""

    async def start(self) -> None:
        """Start it again, on what it had kept."""

    async def heal(self) -> None:
        """End whatever was done to it that lasts."""

    async def drift(self, symbol: str, qty: int) -> None:
        """Change a position behind everybody's back."""

    async def ledger(self) -> Ledger:
        """The venue's own books."""


class BrokerDoor(BackDoor, Protocol):
    """The same of a broker for people, who has more ways to surprise."""

    async def fault(
        self, name: str, *, count: int = 1, delay_ms: int = 0, request: str = "", order_type: str = ""
    ) -> None:
        """Switch a named fault on, for so many times; 0: until ``heal``."""

    async def trade_by_hand(self, symbol: str, side: common_pb2.Side.ValueType, qty: int, *, order_ref: str) -> None:
        """Somebody else trades on the account."""

    async def cancel_by_hand(self, client_order_id: str) -> None:
        """The venue, or a person at its desk, cancels an order of ours."""

    async def bust(self, execution_id: str) -> None:
        """Take an execution back."""

    async def correct(self, execution_id: str, *, qty: int, price: str) -> None:
        """Restate an execution."""

    async def faults_never_met(self) -> list[str]:
        """The faults that this card has switched on and that have not happened once."""

    async def drop_connections(self, *, abruptly: bool = False) -> None:
        """End every connection."""

    async def connectivity(self, name: str) -> None:
        """Say what the venue says about its own link to the market."""

    async def reset_day(self, *, roll_back_ids: bool) -> None:
        """The nightly restart."""

    async def fill_in_parts(self, command: journal_pb2.VenueCommand) -> None:
        """Let this order be one that is filled in two parts, at two prices; its id is changed to one that is."""

    async def hours(self, symbol: str, name: str) -> None:
        """When a symbol trades: ALWAYS, REGULAR or CLOSED."""


@dataclass
class Memory:
    """What is stored of an account: what a gateway begins with. Cards of one place share it, as one journal would."""

    known: KnownFacts = field(default_factory=KnownFacts)
    watermark: int = 0


@dataclass
class Stand:
    """One card's place. ``symbol`` is its own, so cards of one venue do not meet in one position."""

    name: str
    account: str
    connect_as: Callable[[str], Venue]
    symbol: str
    back_door: BackDoor | None = None
    broker_door: BrokerDoor | None = None
    environment: common_pb2.Environment.ValueType = common_pb2.ENVIRONMENT_PAPER
    venue: Venue = field(init=False)
    memory: Memory = field(default_factory=Memory)
    events: list[VenueEvent] = field(default_factory=list)
    alerts: list[audit_pb2.Alert] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    break_count: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _listener: asyncio.Task[None] | None = None

    @property
    def behind(self) -> BackDoor:
        """The back door. Cards that use it say so in their needs."""
        assert self.back_door is not None, "this venue has no back door"
        return self.back_door

    @property
    def broker(self) -> BrokerDoor:
        """The same of a broker for people."""
        assert self.broker_door is not None, "this venue has no such back door"
        return self.broker_door

    # --- the connection --------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, listen, and wait until the venue has answered once."""
        self.venue = self.connect_as(self.account)
        self._listener = asyncio.create_task(self._listen())
        await self.portfolio()

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self.venue.close()

    async def reopen(self) -> None:
        """As if the gateway had died and another one knew what the journal knows, and had asked for the rest."""
        await self.close()
        await self.open()
        await self.until_reconciled()

    async def _listen(self) -> None:
        """Every event, through every break, as the gateway's session does it."""
        while True:
            with contextlib.suppress(Unavailable, RemoteProtocolError):
                async with aclosing(self.venue.events(self.memory.watermark, self.memory.known)) as events:
                    async for event in events:
                        self._learn(event)
            self.break_count += 1
            await asyncio.sleep(0.05)

    def _learn(self, event: VenueEvent) -> None:
        assert event.sequence > self.memory.watermark, "an event's number is greater than the one before"
        self.memory.watermark = event.sequence
        self.events.append(event)
        heard = reports.hear(event, account=self.account, venue=self.venue.name, our_symbols=frozenset({self.symbol}))
        assert heard.malformed is None, f"an event that makes no sense: {heard.malformed}"
        if heard.alert is not None:
            self.alerts.append(heard.alert)
        if heard.report is not None:
            heard.report.received_at_ns = time.time_ns()
            self.memory.known.learn(heard.report)

    # --- acts ------------------------------------------------------------------------------------------------------

    def order(
        self,
        side: common_pb2.Side.ValueType = BUY,
        qty: int = 10,
        *,
        limit: str = "",
        stop: str = "",
        is_exit: bool = False,
        symbol: str = "",
        time_in_force: common_pb2.TimeInForce.ValueType = DAY,
    ) -> journal_pb2.VenueCommand:
        """A command as the kernel journals it, under an id nobody used before."""
        number = next(self._numbers)
        kind = journal_pb2.COMMAND_KIND_SUBMIT_EXIT if is_exit else journal_pb2.COMMAND_KIND_SUBMIT_ENTRY
        command = journal_pb2.VenueCommand(
            kind=kind,
            client_order_id=CLIENT_ORDER_ID_PREFIX + derived_id("acceptance", self.symbol, number, time.time_ns()),
            trade_id=f"acceptance-{self.symbol}",
            account=self.account,
            venue=self.venue.name,
            environment=self.environment,
            instrument=instrument(symbol or self.symbol),
            side=side,
            order_qty=common_pb2.Decimal(units=qty),
            order_type=STOP if stop else LIMIT if limit else MARKET,
            time_in_force=time_in_force,
        )
        if limit or stop:
            command.price.CopyFrom(Number.parse(limit or stop, scale=PRICE_SCALE).message())
        return command

    def bracket(
        self, qty: int = 10, *, stop: str, target: str = "", limit: str = ""
    ) -> tuple[journal_pb2.VenueCommand, ...]:
        """A bought entry with what protects it, as the kernel journals them."""
        entry = self.order(BUY, qty, limit=limit)
        entry.group = entry.client_order_id
        commands = [entry]
        for suffix, stop_price, limit_price in ((STOP_SUFFIX, stop, ""), (TARGET_SUFFIX, "", target)):
            if not stop_price and not limit_price:
                continue
            order = self.order(SELL, qty, stop=stop_price, limit=limit_price, time_in_force=GTC)
            order.kind = journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE
            order.client_order_id, order.group = entry.client_order_id + suffix, entry.group
            commands.append(order)
        return tuple(commands)

    def way_out(self, entry: journal_pb2.VenueCommand, qty: int = 10, *, limit: str = "") -> journal_pb2.VenueCommand:
        """An exit of a bracketed trade: it joins the group of what protects it."""
        command = self.order(SELL, qty, limit=limit, is_exit=True)
        command.group = entry.client_order_id
        return command

    async def send_bracket(self, commands: Sequence[journal_pb2.VenueCommand]) -> Sequence[SendResult]:
        for command in commands:
            self._begin(command)
        return await self.venue.send_bracket(commands)

    async def bracket_sent_at_last(self, commands: Sequence[journal_pb2.VenueCommand]) -> Sequence[SendResult]:
        """Send all of it; again, while it certainly did not leave."""
        results: Sequence[SendResult] = ()

        async def left() -> bool:
            nonlocal results
            results = await self.send_bracket(commands)
            return results[0].outcome is not Outcome.NOT_SENT

        await self.until(left, "the bracket leaves")
        return results

    async def accepted_bracket(self, commands: Sequence[journal_pb2.VenueCommand]) -> None:
        """Send what has to be accepted, all of it."""
        results = await self.bracket_sent_at_last(commands)
        assert [result.outcome for result in results] == [Outcome.ACCEPTED] * len(commands), results

    async def send(self, command: journal_pb2.VenueCommand) -> SendResult:
        self._begin(command)
        return await self.venue.send(command)

    def _begin(self, command: journal_pb2.VenueCommand) -> None:
        """What a gateway writes down before it sends."""
        self.sent.append(command.client_order_id)
        self.memory.known.learn_command(command.client_order_id, Number.of(command.order_qty))
        begun = venue_pb2.OrderReport(fact=venue_pb2.ORDER_FACT_SUBMITTING, client_order_id=command.client_order_id)
        report = reports.order_report(self.account, self.venue.name, begun)
        report.received_at_ns = time.time_ns()
        self.memory.known.learn(report)

    async def sent_at_last(self, command: journal_pb2.VenueCommand) -> SendResult:
        """Send; again, while it certainly did not leave: the venue may not be ready yet, or slow to name a contract."""
        result = SendResult(Outcome.NOT_SENT)

        async def left() -> bool:
            nonlocal result
            result = await self.send(command)
            return result.outcome is not Outcome.NOT_SENT

        await self.until(left, "the order leaves")
        return result

    async def accepted(self, command: journal_pb2.VenueCommand) -> journal_pb2.VenueCommand:
        """Send what has to be accepted."""
        result = await self.sent_at_last(command)
        assert result.outcome is Outcome.ACCEPTED, result
        return command

    async def filled(self, command: journal_pb2.VenueCommand) -> journal_pb2.VenueCommand:
        """Send what has to be filled, whole."""
        await self.accepted(command)
        await self.until_filled(command)
        return command

    async def cancel(self, command: journal_pb2.VenueCommand) -> SendResult:
        return await self.venue.cancel(
            journal_pb2.VenueCommand(
                kind=journal_pb2.COMMAND_KIND_CANCEL,
                client_order_id=command.client_order_id,
                account=command.account,
                venue=command.venue,
                instrument=command.instrument,
            )
        )

    async def found(self, command: journal_pb2.VenueCommand) -> AskResult:
        """Ask until the venue says what became of an order, as the gateway does with a doubt."""
        answers: list[AskResult] = []

        async def answered() -> bool:
            answers.append(await self.venue.ask(command.client_order_id, fence=self.venue.traits.fences))
            return answers[-1].presence in (Presence.FOUND, Presence.REJECTED)

        await self.until(answered, "the venue says what became of the order")
        return answers[-1]

    async def nowhere(self, command: journal_pb2.VenueCommand) -> None:
        """Ask until the venue has answered for everything it has, and the order is not there: silence says nothing."""

        async def is_absent() -> bool:
            answer = await self.venue.ask(command.client_order_id, fence=self.venue.traits.fences)
            assert answer.presence in (Presence.ABSENT, Presence.UNKNOWN), answer
            return answer.presence is Presence.ABSENT

        await self.until(is_absent, "the venue has answered for everything, and has no such order")

    async def portfolio(self, *, with_balance: bool = False) -> Portfolio:
        """The venue's truth; asked until there is one with all its parts.

        A balance may take a while after an execution, for a gateway that has just begun: it is not told before the
        figures of the venue fit together.
        """
        found: list[Portfolio] = []

        async def answered() -> bool:
            with contextlib.suppress(Unavailable, RemoteProtocolError):
                found.append(await self.venue.portfolio())
            if not found or found[-1].positions is None or found[-1].open_orders is None:
                return False
            return found[-1].balance is not None or not with_balance

        await self.until(answered, "the venue answers with its whole portfolio")
        return found[-1]

    # --- what was heard --------------------------------------------------------------------------------------------

    def fills(self, command: journal_pb2.VenueCommand) -> list[venue_pb2.Fill]:
        return [
            event.fact
            for event in self.events
            if isinstance(event.fact, venue_pb2.Fill) and event.fact.client_order_id == command.client_order_id
        ]

    def facts(self, command: journal_pb2.VenueCommand) -> list[int]:
        """What was said of an order besides its fills, as ``venue_pb2.OrderFact``."""
        return [
            event.fact.fact
            for event in self.events
            if isinstance(event.fact, venue_pb2.OrderReport) and event.fact.client_order_id == command.client_order_id
        ]

    def of_kind(self, kind: type[_Fact]) -> list[_Fact]:
        return [event.fact for event in self.events if isinstance(event.fact, kind)]

    def cum_qty(self, command: journal_pb2.VenueCommand) -> Number:
        return sum((Number.of(fill.last_qty) for fill in self.fills(command)), start=Number.zero())

    async def position(self, symbol: str = "") -> Number:
        portfolio = await self.portfolio()
        assert portfolio.positions is not None
        held = [Number.of(found.qty) for found in portfolio.positions if found.symbol == (symbol or self.symbol)]
        return held[0] if held else Number.zero()

    async def wallet(self) -> Number:
        portfolio = await self.portfolio(with_balance=True)
        assert portfolio.balance is not None
        return Number.of(portfolio.balance.wallet)

    def fee_count(self, command: journal_pb2.VenueCommand) -> int:
        """How often a fee was told for an order's executions, with a fill or after it."""
        with_fills = sum(fill.HasField("fee") for fill in self.fills(command))
        return with_fills + len(self._settlements(command))

    async def fee_of(self, command: journal_pb2.VenueCommand) -> Number:
        """What an order cost, once the venue has said it for each of its fills."""
        await self.until(lambda: self.fee_count(command) >= len(self.fills(command)) > 0, "the fees are told")
        told = [fill.fee for fill in self.fills(command) if fill.HasField("fee")]
        told += [settlement.fee for settlement in self._settlements(command)]
        return sum((Number.of(fee) for fee in told), start=Number.zero())

    def notional(self, command: journal_pb2.VenueCommand) -> Number:
        """Sum of price times quantity of an order's fills."""
        return sum(
            (Number.of(fill.last_price) * Number.of(fill.last_qty) for fill in self.fills(command)),
            start=Number.zero(),
        )

    def _settlements(self, command: journal_pb2.VenueCommand) -> list[venue_pb2.Settlement]:
        executions = {fill.execution_id for fill in self.fills(command)}
        return [found for found in self.of_kind(venue_pb2.Settlement) if found.execution_id in executions]

    async def bar_of(self, symbol: str) -> venue_pb2.Bar:
        """The newest bar that comes of a symbol, within the stand's patience."""
        async with asyncio.timeout(PATIENCE_S), aclosing(self.venue.bars(0)) as bars:
            async for bar in bars:
                if bar.instrument.symbol == symbol and Number.of(bar.close) != Number.parse(FIRST_PRICE):
                    return bar
        raise AssertionError("market data ended")

    # --- waiting ---------------------------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str) -> None:
        listener = self._listener
        assert listener is not None

        async def holds() -> bool:
            if listener.done():
                listener.result()  # the listener broke: that is the failure, not the wait
            found = condition()
            return found if isinstance(found, bool) else await found

        await eventually(holds, what, timeout_s=PATIENCE_S)

    async def until_reconciled(self) -> None:
        """Wait until the venue was asked what happened before, and all that it told was heard.

        A connection that answers has not asked for everything yet: what is not told then may be on its way.
        """
        await self.until(lambda: self.venue.state.no_entry is None, "the gateway is reconciled")
        told = (await self.portfolio()).event_sequence
        await self.until(lambda: self.memory.watermark >= told, "all that was told is heard")

    async def until_filled(self, command: journal_pb2.VenueCommand) -> None:
        wanted = Number.of(command.order_qty)
        await self.until(lambda: self.cum_qty(command) >= wanted, f"{wanted} are filled")

    async def until_fact(self, command: journal_pb2.VenueCommand, fact: int) -> None:
        name = venue_pb2.OrderFact.Name(fact)  # type: ignore[arg-type]
        await self.until(lambda: fact in self.facts(command), f"{name} was said")

    async def until_position(self, qty: int, symbol: str = "") -> None:
        async def held() -> bool:
            return await self.position(symbol) == Number(qty, 0)

        await self.until(held, f"the venue says a position of {qty}")

    async def until_alerted(self, reason: str, subject_id: str) -> None:
        def alerted() -> bool:
            return any((alert.reason, alert.subject_id) == (reason, subject_id) for alert in self.alerts)

        await self.until(alerted, f"people are told {reason}")

    async def until_working(self, command: journal_pb2.VenueCommand) -> None:
        async def working() -> bool:
            portfolio = await self.portfolio()
            return command.client_order_id in {found.client_order_id for found in portfolio.open_orders or ()}

        await self.until(working, "the order is working, as the venue says")

    async def until_wallet(self, wanted: Number) -> None:
        async def there() -> bool:
            return await self.wallet() == wanted

        await self.until(there, f"the wallet is {wanted}")

    async def until_accepted_cancel(self, command: journal_pb2.VenueCommand) -> None:
        async def accepted() -> bool:
            return (await self.cancel(command)).outcome is Outcome.ACCEPTED

        await self.until(accepted, "the cancel is taken")

    async def filled_at_last(self, command: journal_pb2.VenueCommand) -> None:
        """Send while the connection may still be on its way back: what certainly did not leave is sent again."""

        async def sent() -> bool:
            result = await self.venue.send(command)
            assert result.outcome in (Outcome.NOT_SENT, Outcome.ACCEPTED, Outcome.UNKNOWN), result
            return result.outcome is not Outcome.NOT_SENT

        self.sent.append(command.client_order_id)
        await self.until(sent, "the order leaves")
        await self.until_filled(command)

    # --- after every card --------------------------------------------------------------------------------------------

    async def adds_up(self) -> None:
        """0 lost, 0 doubled: the venue's books against what was heard and sent, once everything was asked for."""
        if self.back_door is not None:
            await self.back_door.heal()
            await self.until(self._all_executions_heard, "every execution of ours at the venue was heard")
        await self.until_reconciled()
        self._assert_nothing_told_twice()
        if self.back_door is not None:
            ledger = await self.back_door.ledger()
            again = {order: count for order, count in ledger.arrivals.items() if order in self.sent and count > 1}
            assert not again or self.venue.traits.takes_an_id_once, f"orders that arrived twice: {again}"

    async def met_its_faults(self) -> None:
        """A card whose fault never happened has shown nothing."""
        never_met = await self.broker_door.faults_never_met() if self.broker_door is not None else []
        assert not never_met, f"faults that were switched on and never happened: {never_met}"

    def _assert_nothing_told_twice(self) -> None:
        told = Counter(fill.execution_id for fill in self.of_kind(venue_pb2.Fill))
        doubled = [execution for execution, count in told.items() if count > 1]
        assert not doubled, f"executions heard twice: {doubled}"
        for fact in (venue_pb2.ORDER_FACT_CANCELED, venue_pb2.ORDER_FACT_REJECTED):
            ended = Counter(
                found.client_order_id for found in self.of_kind(venue_pb2.OrderReport) if found.fact == fact
            )
            assert all(count == 1 for count in ended.values()), f"an end was told twice: {ended}"

    async def _all_executions_heard(self) -> bool:
        assert self.back_door is not None
        ledger = await self.back_door.ledger()
        return all(
            self.memory.known.knows_execution(execution.execution_id)
            for execution in ledger.executions
            if execution.client_order_id in self.sent
        )


def instrument(symbol: str) -> common_pb2.Instrument:
    """The instrument every simulated symbol of a stand is."""
    return common_pb2.Instrument(
        symbol=symbol, version=1, currency="USD", price_scale=PRICE_SCALE, tick_units=100, lot_units=1, multiplier=1
    )
