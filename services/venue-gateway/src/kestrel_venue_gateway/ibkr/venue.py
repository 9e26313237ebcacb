"""A login at Interactive Brokers, as the gateway wants its venues.

    events()   one connection's life: connect -> check whose money it is -> ask for everything -> listen
    send()     contract -> order id, noted -> place among the messages -> write -> wait for a word about it
    send_bracket()   the same for an entry and what protects it, written in one go; the last one sets all of them free
    ask()      what was heard of the order; else everything is asked again; silence is "unknown"

What happened while nobody listened is found by asking: after each connect, after each word of the gateway that it has
its servers again, whenever a message cannot be understood alone, and every few minutes. Whatever was asked for goes the
same way as what is told, message by message into ``OrderFacts``, which tells the facts that are new.

Nothing is ever sent twice: an order that is known under its reference, from whatever time, is only reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_domain import live_gate
from kestrel_domain.errors import InvalidRequest, KestrelError, RemoteProtocolError, Unavailable
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.core.admission import STOP_SUFFIX, TARGET_SUFFIX
from kestrel_venue_gateway.core.known import KnownFacts
from kestrel_venue_gateway.core.reports import Alarm, Fact, VenueEvent
from kestrel_venue_gateway.core.submission import AskResult, Outcome, Presence, SendResult
from kestrel_venue_gateway.core.traits import WEAK, VenueState
from kestrel_venue_gateway.core.truth import Portfolio
from kestrel_venue_gateway.ibkr import library
from kestrel_venue_gateway.ibkr.core import commands, contracts, executions, heard, recovery
from kestrel_venue_gateway.ibkr.core.balance import Wallet
from kestrel_venue_gateway.ibkr.core.contracts import Listing, Wanted
from kestrel_venue_gateway.ibkr.core.orders import Learned, Order, OrderFacts
from kestrel_venue_gateway.ibkr.core.pacing import Urgency
from kestrel_venue_gateway.ibkr.core.recovery import Answered, FeeQuestions
from kestrel_venue_gateway.ibkr.data import MarketData
from kestrel_venue_gateway.ibkr.session import Connection, Endpoint

_AUDIT_S = 300.0
_BALANCE_S = 1.0
_QUESTIONS_PAUSE_S = 0.5
"""Between a message that has to be asked about and the question: the answer may be on its way."""
_NOT_WORKING = frozenset({"Cancelled", "ApiCancelled", "Filled", "Inactive"})
_DATA_SHARE = 8
"""One part in so many of the messages is the market data's."""

T = TypeVar("T")

LiveGate = Callable[[str, tuple[tuple[str, live_gate.AccountKind], ...]], common_pb2.Refusal | None]
"""May this account be traded on, by a login that reaches those? Asked at each connection."""


class IbkrVenue:
    """Implements ``Venue`` for one account."""

    name = "ibkr"
    traits = WEAK

    def __init__(self, settings: VenueGatewaySettings, account: str, *, gate: LiveGate | None = None) -> None:
        # Now, while nothing is held yet: importing it takes seconds on a busy machine, and a lease does not wait.
        with contextlib.suppress(RuntimeError):  # without a loop there is no lease either
            library.load(settings.ibkr_library)
        self._settings = settings
        self._account = account
        self._gate = gate or self._settings_gate
        self._facts = OrderFacts(account, settings.ibkr_client_id, KnownFacts())
        self._wallet = Wallet(account)
        self._balance: venue_pb2.Balance | None = None
        self._connection: Connection | None = None
        self._answered: Answered | None = None
        self._asking: asyncio.Task[None] | None = None
        self._must_ask = asyncio.Event()
        self._changed = asyncio.Event()
        self._outbox: asyncio.Queue[VenueEvent | None] = asyncio.Queue()
        self._sequence = 0
        self._first_asked_ns: dict[str, int] = {}
        self._executed: dict[str, heard.ExecutionSeen] | None = None
        self._fee_questions = FeeQuestions()
        self._data: MarketData | None = None

    # --- what is wrong -----------------------------------------------------------------------------------------

    @property
    def state(self) -> VenueState:
        connection = self._connection
        if connection is None or not connection.is_open:
            return VenueState(cut_off=_refusal("IBKR_DISCONNECTED", "there is no connection to the gateway"))
        if connection.cut is not None or connection.silent is not None:
            return VenueState(degraded=connection.cut or connection.silent)
        if self._answered is None or not self._answered.is_complete:
            return VenueState(degraded=_refusal("IBKR_NOT_RECONCILED", "what happened while nobody listened is asked"))
        return VenueState()

    # --- orders ------------------------------------------------------------------------------------------------

    async def send(self, command: journal_pb2.VenueCommand) -> SendResult:
        is_exit = command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT
        try:
            fields = self._fields_of(command)
            connection = await self._usable()
            before = self._known_order(command.client_order_id)
            if before is not None:
                return before
            listing = await self._listing(connection, command)
            qty, price = Number.of(command.order_qty), commands.price_of(command)
            contracts.check_command(listing, command.instrument, qty, price)
            async with (
                asyncio.timeout(self._settings.request_timeout_s),
                connection.permit(Urgency.EXIT if is_exit else Urgency.ENTRY),
            ):
                before = self._place(connection, listing, command, fields)
        except (KestrelError, TimeoutError, ConnectionError) as error:
            return SendResult(Outcome.NOT_SENT, reason=_reason(error))
        return before or await self._word_about(command.client_order_id)

    def _place(
        self,
        connection: Connection,
        listing: Listing,
        command: journal_pb2.VenueCommand,
        fields: commands.OrderFields,
    ) -> SendResult | None:
        """Note it, then write it. Nothing waits in here, so nothing changes between the checks and the write.

        An order that has appeared at the venue meanwhile is not written: what became of it is returned.
        """
        if self.state.no_entry is not None or self._connection is not connection:
            raise Unavailable("the gateway was lost before the order was written", reason="IBKR_DISCONNECTED")
        before = self._known_order(command.client_order_id)
        if before is not None:
            return before
        fields = self._in_living_group(fields)
        order_id = connection.next_order_id()
        symbol = listing.instrument.symbol
        qty = Number.of(command.order_qty)
        self._facts.sent(command.client_order_id, symbol, qty, order_id, now_ns=time.time_ns())
        try:
            connection.link.place_order(order_id, listing.contract, fields)
        except ConnectionError:
            self._facts.not_sent(command.client_order_id)
            raise
        return None

    async def send_bracket(self, commands_: Sequence[journal_pb2.VenueCommand]) -> Sequence[SendResult]:
        """One message for each order, written in one go. The venue takes none of them before the last one is there."""
        try:
            fields = [self._fields_of(command) for command in commands_]
            connection = await self._usable()
            listing = await self._listing(connection, commands_[0])
            for command in commands_:
                qty, price = Number.of(command.order_qty), commands.price_of(command)
                contracts.check_command(listing, command.instrument, qty, price)
            async with asyncio.timeout(self._settings.request_timeout_s), contextlib.AsyncExitStack() as permits:
                for _ in commands_:
                    await permits.enter_async_context(connection.permit(Urgency.ENTRY))
                before = self._place_bracket(connection, listing, commands_, fields)
        except (KestrelError, TimeoutError, ConnectionError) as error:
            return [SendResult(Outcome.NOT_SENT, reason=_reason(error)) for _ in commands_]
        return before or await asyncio.gather(*(self._word_about(each.order_ref) for each in fields))

    def _place_bracket(
        self,
        connection: Connection,
        listing: Listing,
        commands_: Sequence[journal_pb2.VenueCommand],
        fields: Sequence[commands.OrderFields],
    ) -> list[SendResult] | None:
        """As ``_place``. Where one of them is known already, none is written, and what became of each is returned."""
        if self.state.no_entry is not None or self._connection is not connection:
            raise Unavailable("the gateway was lost before the order was written", reason="IBKR_DISCONNECTED")
        before = [self._known_order(each.order_ref) for each in fields]
        if any(before):
            unknown = _refusal("IBKR_SENT_BEFORE", "a part of its bracket was sent before, and nothing is known of it")
            return [each or SendResult(Outcome.UNKNOWN, reason=unknown) for each in before]
        order_ids: list[int] = []
        for command in commands_:
            order_ids.append(connection.next_order_id(max(order_ids, default=0)))
            symbol, qty = listing.instrument.symbol, Number.of(command.order_qty)
            self._facts.sent(command.client_order_id, symbol, qty, order_ids[-1], now_ns=time.time_ns())
        for index, each in enumerate(fields):
            try:
                connection.link.place_order(
                    order_ids[index],
                    listing.contract,
                    replace(
                        each,
                        group=commands_[index].group if index else "",
                        parent_id=order_ids[0] if index else 0,
                        is_last=index == len(fields) - 1,
                    ),
                )
            except ConnectionError:
                if index:
                    break  # the first of them may have left, and is asked about
                for order in fields:
                    self._facts.not_sent(order.order_ref)
                raise
        return None

    def _fields_of(self, command: journal_pb2.VenueCommand) -> commands.OrderFields:
        """Raises ``InvalidRequest`` for what this venue cannot be told, and for another account's order."""
        fields = commands.order_fields(command)
        if fields.account != self._account:
            raise InvalidRequest.of("account", fields.account, f"{self._account}, whose session this is")
        return fields

    def _in_living_group(self, fields: commands.OrderFields) -> commands.OrderFields:
        """An exit joins its trade's protective orders while one is at work: a group that is done refuses who joins."""
        protection = (self._facts.order(fields.group + suffix) for suffix in (STOP_SUFFIX, TARGET_SUFFIX))
        is_living = bool(fields.group) and any(order is not None and order.is_at_work for order in protection)
        return fields if is_living else replace(fields, group="")

    def _known_order(self, client_order_id: str) -> SendResult | None:
        """An order that exists already is not sent; what became of it is told."""
        order = self._facts.order(client_order_id)
        known = self._facts.known.order(client_order_id)
        if order is not None:
            return self._outcome_of(order) or SendResult(
                Outcome.UNKNOWN, reason=_refusal("IBKR_SENT_BEFORE", "it was sent before, and nothing is known of it")
            )
        if known is not None and (known.has_traded or known.knows(venue_pb2.ORDER_FACT_ACKNOWLEDGED)):
            return SendResult(Outcome.ACCEPTED, known.venue_order_id)
        return None

    async def _word_about(self, client_order_id: str) -> SendResult:
        """Wait for anything that says what became of the order; silence is UNKNOWN."""

        def outcome() -> SendResult | None:
            order = self._facts.order(client_order_id)
            return self._outcome_of(order) if order is not None else None

        found = await self._until(outcome)
        message = f"no word about the order within {self._settings.request_timeout_s:g} s"
        return found or SendResult(Outcome.UNKNOWN, reason=_refusal("IBKR_UNANSWERED", message))

    def _outcome_of(self, order: Order) -> SendResult | None:
        found = recovery.evidence(order)
        if found is not None:
            outcome = Outcome.REJECTED if found.presence is Presence.REJECTED else Outcome.ACCEPTED
            return SendResult(outcome, found.venue_order_id, found.reason, time.time_ns())
        if order.refusal is not None and not order.is_ending:
            return SendResult(Outcome.UNKNOWN, order.venue_order_id, order.refusal)
        return None

    async def cancel(self, command: journal_pb2.VenueCommand) -> SendResult:
        client_order_id = command.client_order_id
        try:
            connection = await self._usable(also_degraded=True)
            order = self._facts.order(client_order_id)
            if order is None:
                # Nobody has heard of it: ask for everything. The venue may not know it, which REJECTED says.
                found = await self.ask(client_order_id, fence=False)
                order = self._facts.order(client_order_id)
                if order is None:
                    is_nowhere = found.presence is Presence.ABSENT
                    return SendResult(Outcome.REJECTED if is_nowhere else Outcome.UNKNOWN, reason=found.reason)
            if order.has_ended:
                return SendResult(Outcome.ACCEPTED, order.venue_order_id)  # the events say how, or have said it
            if not order.order_id or order.client_id != self._settings.ibkr_client_id:
                message = (
                    f"only the client that sent it may cancel it: client {order.client_id}, order {order.order_id}"
                )
                return SendResult(Outcome.UNKNOWN, order.venue_order_id, _refusal("IBKR_NOT_OURS_TO_CANCEL", message))
            order.cancel_refusal, order.cancel_pending = None, False
            async with asyncio.timeout(self._settings.request_timeout_s), connection.permit(Urgency.CANCEL):
                connection.link.cancel_order(order.order_id)
        except (KestrelError, TimeoutError, ConnectionError) as error:
            return SendResult(Outcome.UNKNOWN, reason=_reason(error))
        return await self._word_about_cancel(order)

    async def _word_about_cancel(self, order: Order) -> SendResult:
        def outcome() -> SendResult | None:
            if order.has_ended or order.is_ending or order.cancel_pending:
                return SendResult(Outcome.ACCEPTED, order.venue_order_id)
            if order.cancel_refusal is not None:
                return SendResult(Outcome.UNKNOWN, order.venue_order_id, order.cancel_refusal)
            return None

        found = await self._until(outcome)
        if found is not None and found.outcome is Outcome.UNKNOWN:
            # "It cannot be canceled" is said of what has ended, too: ask what became of it.
            await self._ask_again()
            if order.has_ended:
                return SendResult(Outcome.ACCEPTED, order.venue_order_id)
        message = f"no word about the cancel within {self._settings.request_timeout_s:g} s"
        return found or SendResult(Outcome.UNKNOWN, reason=_refusal("IBKR_UNANSWERED", message))

    async def ask(self, client_order_id: str, *, fence: bool) -> AskResult:
        """``fence`` changes nothing: this venue cannot be told to refuse an id, which ``traits`` says."""
        now_ns = time.time_ns()
        first_asked_ns = self._first_asked_ns.setdefault(client_order_id, now_ns)
        order = self._facts.order(client_order_id)
        found = recovery.evidence(order) if order is not None else None
        if found is None:
            await self._ask_again()
            found = recovery.verdict(
                self._facts.order(client_order_id),
                self._answered,
                asked_at_ns=now_ns,
                first_asked_at_ns=first_asked_ns,
                grace_ns=int(self._settings.ibkr_absence_grace_s * SECOND_NS),
                now_ns=time.time_ns(),
            )
        if found.presence in (Presence.FOUND, Presence.REJECTED):
            self._first_asked_ns.pop(client_order_id, None)
        return found

    # --- the account -------------------------------------------------------------------------------------------

    async def portfolio(self) -> Portfolio:
        connection = await self._usable(also_degraded=True)
        if connection.cut is not None:
            raise Unavailable(connection.cut.message, reason=connection.cut.reason)
        sequence = self._sequence
        open_orders = self._working(await connection.ask_open_orders())
        positions = await connection.ask_positions()
        return Portfolio(
            as_of_ns=time.time_ns(),
            event_sequence=sequence,
            positions=[self._truth_position(position) for position in self._ours(positions).values()],
            open_orders=open_orders,
            balance=self._balance_of_now(),
        )

    def _balance_of_now(self) -> venue_pb2.Balance | None:
        """A wallet from before the last fills would look like a loss of what they cost: then no figure is told, and
        positions and orders are compared without it.
        """
        if self._balance is None or self._wallet.is_told:
            return self._balance
        return venue_pb2.Balance(currency=self._balance.currency)

    def _ours(self, positions: Iterable[heard.PositionSeen]) -> dict[int, heard.PositionSeen]:
        """What this account holds, by contract; the last word about each counts."""
        last = {position.con_id: position for position in positions if position.account == self._account}
        return {con_id: position for con_id, position in last.items() if position.qty}

    def _working(self, messages: Iterable[heard.OrderSeen | heard.StatusSeen]) -> list[venue_pb2.TruthOrder]:
        """What the venue lists as working: an order, then its status, which alone says how much of it is filled."""
        working: dict[int, venue_pb2.TruthOrder] = {}
        for message in messages:
            if message.status in _NOT_WORKING:
                working.pop(message.perm_id, None)
            elif isinstance(message, heard.OrderSeen):
                if message.account == self._account and not message.is_preview:
                    working[message.perm_id] = _truth_order(message)
            elif message.perm_id in working:
                working[message.perm_id].cum_qty.CopyFrom(message.filled.message())
        return list(working.values())

    def _truth_position(self, position: heard.PositionSeen) -> venue_pb2.TruthPosition:
        truth = venue_pb2.TruthPosition(symbol=position.symbol, qty=position.qty.message())
        average = self._wallet.average_price(position.con_id)
        if average is not None:  # the venue's own contains commissions: no price anything traded at
            truth.average_price.CopyFrom(average.message())
        return truth

    # --- events ------------------------------------------------------------------------------------------------

    async def events(self, after_sequence: int, known: KnownFacts) -> AsyncGenerator[VenueEvent, None]:
        self._begin(after_sequence, known)
        connection = Connection(self._endpoint(), self)
        self._connection, outbox = connection, self._outbox
        connection.ended.add_done_callback(lambda _: outbox.put_nowait(None))
        try:
            await connection.open()
            self._check_accounts(connection)
            connection.start(connection.keep_alive(), "keep_alive")
            connection.start(self._keep_asking(connection), "keep_asking")
            connection.start(self._tell_balances(), "tell_balances")
            while (event := await self._outbox.get()) is not None:
                yield event
            raise connection.ended.result()
        finally:
            connection.close()
            if self._connection is connection:
                self._connection = None
            self._pulse()

    def bars(self, after_sequence: int) -> AsyncGenerator[venue_pb2.Bar, None]:
        settings = self._settings
        share = max(1, settings.ibkr_messages_per_s_max // _DATA_SHARE)
        self._data = self._data or MarketData(
            self.name,
            self._endpoint(settings.ibkr_data_client_id, share),
            settings.ibkr_symbols,
            self._check_accounts,
            bar_interval_s=settings.ibkr_bar_interval_s,
        )
        return self._data.bars(after_sequence)

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._data is not None:
            self._data.close()

    # --- what a connection hears -------------------------------------------------------------------------------

    def hear_order(self, message: heard.OrderMessage) -> None:
        now_ns = time.time_ns()
        learned = self._facts.apply(message, now_ns=now_ns)
        if isinstance(message, heard.ExecutionSeen):
            self._hear_execution(message, learned, now_ns)
        elif isinstance(message, heard.CommissionSeen) and message.fee is not None:
            self._wallet.learn_fee(message.execution_id, message.fee)
        self._take(learned)

    def hear_position(self, position: heard.PositionSeen) -> None:
        if position.account == self._account:
            self._wallet.learn_position(position)

    def hear_account_value(self, value: heard.AccountValueSeen) -> None:
        if value.account == self._account:
            self._wallet.learn_value(value.key, value.value, value.currency)

    def hear_tick(self, request_id: int, tick_type: int, price: Number | None, size: Number | None) -> None:
        """Prices have a connection of their own."""

    def hear_restored(self) -> None:
        self._answered = None
        self._must_ask.set()

    def _hear_execution(self, execution: heard.ExecutionSeen, learned: Learned, now_ns: int) -> None:
        if execution.account != self._account or execution.sec_type == "BAG":
            return
        if self._executed is not None:
            stem, revision = executions.split(execution.execution_id)
            other = self._executed.get(stem)
            if other is None or executions.split(other.execution_id)[1] < revision:
                self._executed[stem] = execution
        is_new = any(isinstance(told.fact, venue_pb2.Fill | venue_pb2.FillBust) for told in learned.told)
        self._wallet.learn_execution(execution, now_ns=now_ns, is_new=is_new)

    def _take(self, learned: Learned) -> None:
        for told in learned.told:
            self._put(told.key, told.time_ns, told.fact)
        for alarm in learned.alarms:
            telemetry.count(f"ibkr.alarms.{alarm.reason.lower()}")
            telemetry.logger().error("ibkr.alarm", reason=alarm.reason, subject=alarm.subject_id, error=alarm.message)
            self._put(f"alarm:{alarm.reason}:{alarm.subject_id}:{alarm.cause}", time.time_ns(), alarm)
        if learned.must_ask:
            self._must_ask.set()
        if self._connection is not None:
            self._connection.id_floor = self._facts.order_id_highest
        self._pulse()

    def _put(self, key: str, time_ns: int, fact: Fact | Alarm) -> None:
        self._sequence += 1
        self._outbox.put_nowait(VenueEvent(self._sequence, time_ns, fact, key))

    # --- asking for everything ---------------------------------------------------------------------------------

    async def _keep_asking(self, connection: Connection) -> None:
        """Everything once, then whenever something has to be asked about, and every so often."""
        await connection.ask_account(self._account)
        while True:
            self._must_ask.clear()
            if connection.cut is None:  # else it is asked when the gateway has its servers again
                await self._ask_everything(connection)
            try:
                async with asyncio.timeout(_AUDIT_S):
                    await self._must_ask.wait()
                await asyncio.sleep(_QUESTIONS_PAUSE_S)
            except TimeoutError:
                telemetry.count("ibkr.audits")

    async def _ask_everything(self, connection: Connection) -> None:
        """Open orders, completed orders, executions and positions, in this order. Any of them unanswered ends it."""
        begun_ns = time.time_ns()
        self._executed = {}
        try:
            await connection.ask_open_orders()
            await connection.ask_completed_orders()
            await connection.ask_executions(self._account)
            positions = self._ours(await connection.ask_positions())
            executed = sorted(self._executed.values(), key=lambda row: row.time_ns or 0)
        finally:
            self._executed = None
        now_ns = time.time_ns()
        self._wallet.begin(positions.values(), executed, now_ns=now_ns, begun_ns=begun_ns)
        self._answered = Answered(begun_ns, is_complete=connection.cut is None)
        self._take(self._facts.all_asked(now_ns=now_ns))
        self._tell_balance()
        self._must_ask.clear()
        telemetry.count("ibkr.reconciled")

    async def _ask_again(self) -> None:
        """See to it that everything is asked from now on, and wait for it, within a bound."""
        begun_ns = time.time_ns()

        def is_answered() -> bool | None:
            return (self._answered is not None and self._answered.begun_at_ns >= begun_ns) or None

        self._must_ask.set()
        await self._until(is_answered, timeout_s=self._settings.request_timeout_s + 2 * _QUESTIONS_PAUSE_S)

    async def _tell_balances(self) -> None:
        while True:
            await asyncio.sleep(_BALANCE_S)
            self._tell_balance()
            self._mind_missing_fees()

    def _mind_missing_fees(self) -> None:
        """A fee is told to the connection of its moment, which may be gone, and to who asks for executions again."""
        if self._answered is None:
            return
        is_missing, asked_at_ns = bool(self._facts.fees_awaited()), self._answered.begun_at_ns
        if self._fee_questions.is_due(is_missing=is_missing, asked_at_ns=asked_at_ns, now_ns=time.time_ns()):
            self._must_ask.set()

    def _tell_balance(self) -> None:
        """The account's figures, when they fit together and are new."""
        if self._answered is None or not self._answered.is_complete:
            return
        now_ns = time.time_ns()
        balance = self._wallet.balance(now_ns=now_ns)
        if balance is not None:
            self._balance = balance
            self._put(f"balance:{now_ns}", now_ns, balance)
        if self._wallet.wants_asking(now_ns=now_ns):
            self._must_ask.set()

    # --- how ---------------------------------------------------------------------------------------------------

    def _begin(self, after_sequence: int, known: KnownFacts) -> None:
        """A new connection begins with what is stored, and with what was sent and not heard of."""
        before, self._facts = self._facts, OrderFacts(self._account, self._settings.ibkr_client_id, known)
        self._facts.take_over(before)
        self._sequence = after_sequence
        self._outbox = asyncio.Queue()
        self._answered = None
        self._balance = None
        self._wallet.tell_again()

    def _endpoint(self, client_id: int = 0, messages_per_s_max: int = 0) -> Endpoint:
        settings = self._settings
        share = max(1, settings.ibkr_messages_per_s_max // _DATA_SHARE) if settings.ibkr_symbols else 0
        return Endpoint(
            host=settings.ibkr_host,
            port=settings.ibkr_port,
            client_id=client_id or settings.ibkr_client_id,
            library=settings.ibkr_library,
            connect_timeout_s=settings.ibkr_connect_timeout_s,
            request_timeout_s=settings.request_timeout_s,
            heartbeat_s=settings.ibkr_heartbeat_s,
            messages_per_s_max=messages_per_s_max or max(1, settings.ibkr_messages_per_s_max - share),
        )

    def _check_accounts(self, connection: Connection) -> None:
        """Whose money is it? Asked at each connection. Raises ``RemoteProtocolError`` when this is the wrong door."""
        no = self._gate(self._account, live_gate.ibkr_accounts(connection.accounts))
        if no is not None:
            raise RemoteProtocolError(no.message, reason=no.reason, field=no.field, value=no.value, rule=no.rule)

    def _settings_gate(
        self, account: str, logged_in: tuple[tuple[str, live_gate.AccountKind], ...]
    ) -> common_pb2.Refusal | None:
        """Without anybody who knows promotions and kill flags, real money stays shut."""
        question = live_gate.GateQuestion(
            account=account,
            kind=live_gate.kind_of_ibkr_account(account),
            environment=self._settings.environment_value,
            confirmation=self._settings.live_confirmation,
            promotion=None,
            kill_flags=None,
            now_ns=time.time_ns(),
            logged_in_accounts=logged_in,
        )
        return live_gate.check(question)

    async def _usable(self, *, also_degraded: bool = False) -> Connection:
        """The connection, once it can be used. Raises ``Unavailable`` when it cannot in time."""

        def usable() -> Connection | None:
            state = self.state
            is_usable = state.cut_off is None and (also_degraded or state.degraded is None)
            return self._connection if is_usable else None

        connection = await self._until(usable)
        if connection is None:
            state = self.state
            no = state.no_entry or _refusal("IBKR_DISCONNECTED", "the gateway was not usable in time")
            raise Unavailable(no.message, reason=no.reason)
        return connection

    async def _listing(self, connection: Connection, command: journal_pb2.VenueCommand) -> Listing:
        wanted = next(
            (
                found
                for found in map(Wanted.parse, self._settings.ibkr_symbols)
                if found.symbol == command.instrument.symbol
            ),
            Wanted(command.instrument.symbol, currency=command.instrument.currency or "USD"),
        )
        return await connection.list_contract(wanted)

    async def _until(self, found: Callable[[], T | None], *, timeout_s: float | None = None) -> T | None:
        """Look again whenever something changed, until something is found or the time of a request is over."""
        try:
            async with asyncio.timeout(timeout_s or self._settings.request_timeout_s):
                while True:
                    changed = self._changed
                    result = found()
                    if result is not None:
                        return result
                    await changed.wait()
        except TimeoutError:
            return found()

    def _pulse(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _truth_order(order: heard.OrderSeen) -> venue_pb2.TruthOrder:
    return venue_pb2.TruthOrder(
        client_order_id=order.order_ref or f"ibkr-{order.perm_id}",
        venue_order_id=str(order.perm_id),
        symbol=order.symbol,
        side=order.side,
        order_qty=order.order_qty.message(),
        cum_qty=Number(0, 0).message(),
    )


def _refusal(reason: str, message: str) -> common_pb2.Refusal:
    return common_pb2.Refusal(reason=reason, message=message)


def _reason(error: Exception) -> common_pb2.Refusal:
    if isinstance(error, KestrelError):
        return error.refusal()
    return _refusal("IBKR_UNREACHABLE", str(error) or "the gateway did not take the order in time")
