"""A world without chance, for schedules that are written down: faults happen when they are armed, and only then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from unittest.mock import patch

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel.signal.v1 import signal_pb2
from kestrel_domain import effects, subjects
from kestrel_domain.effects import Publish
from kestrel_domain.identifiers import entry_client_order_id, token_id
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MINUTE_NS, SECOND_NS
from kestrel_simulators.matching import engine
from kestrel_simulators.matching.books import Order
from kestrel_simulators.matching.chance import Fate, Fortune
from kestrel_simulators.paper.venue import Kind
from kestrel_venue_gateway.core.submission import SendResult
from tests.simulation.nodes import ACCOUNT, VENUE
from tests.simulation.referee import Books, is_over
from tests.simulation.world import LAYOUTS, World, _instrument, _price

STEPS_MAX = 6_000
_PEOPLE_DO = ("person looks", "person answers")


class Stage(World):
    """Services run and people approve; everything else is asked for. ``until`` runs what was begun to its end."""

    def __init__(self, seed: int = 1, layout: tuple[tuple[str, ...], int] = LAYOUTS[0]) -> None:
        """``layout``: accounts and partitions; one of each, unless stated."""
        self.armed = Counter[str]()
        self.fates: list[Fate] = []
        self.layout = layout
        super().__init__(seed)
        self.trading_on = False
        self.venue.apply(Kind.SET_MODE, paper_pb2.SetModeRequest(mode=paper_pb2.MATCHING_MODE_INSTANT), self.true_ns)
        self.until(lambda: self.bus.last_sequence(subjects.INBOX) > 0 and self.is_quiet())  # its balance is known

    def _layout(self) -> tuple[tuple[str, ...], int]:
        return self.layout

    @property
    def books(self) -> Books:
        return self.referee.books[ACCOUNT]

    # --- chance ------------------------------------------------------------------------------------------------------

    def arm(self, fault: str, times: int = 1) -> None:
        """The fault happens the next ``times`` times it could."""
        self.armed[fault] += times

    def fault(self, name: str, probability: float) -> bool:
        if not self.armed[name]:
            return False
        self.armed[name] -= 1
        self.reached(name)
        return True

    def chance(self, name: str, probability: float) -> bool:
        return name in _PEOPLE_DO

    def move_prices(self) -> None:
        """They stand still."""

    def _place(self, requests: list[paper_pb2.PlaceOrderRequest]) -> list[SendResult]:
        """An order's fate is the next one of ``fates``; without one it fills as its price allows."""
        fate = self.fates.pop(0) if self.fates else Fate.FILL
        fortune = Fortune(fate, part_ppm=500_000, delay_ns=MINUTE_NS, slippage_ppm=0)
        with patch.object(engine, "draw", lambda *_: fortune):
            return super()._place(requests)

    # --- what a scenario does ----------------------------------------------------------------------------------------

    def enter(
        self,
        trade_id: str,
        symbol: str = "AAA",
        qty: int = 10,
        *,
        away_percent: int = 0,
        account: str = ACCOUNT,
        attempt: int = 1,
        strategy: str = "momentum",
    ) -> str:
        """Propose to buy; ``away_percent`` below the market it rests. Returns the id that its order will have.

        ``strategy``: only "momentum" has a mandate; for any other, people decide.
        """
        reference = self._price_units[symbol]
        intent = intent_pb2.Intent(
            intent_id=trade_id,
            account=account,
            venue=VENUE,
            environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=_instrument(symbol),
            side=common_pb2.SIDE_BUY,
            order_qty=Number(qty, 0).message(),
            order_type=common_pb2.ORDER_TYPE_LIMIT,
            price=_price(reference, 10 * (100 - away_percent)),
            time_in_force=common_pb2.TIME_IN_FORCE_GTC,
            stop_price=_price(reference, 950),
            reference_price=Number(reference, 4).message(),
            leverage=1,
            strategy=strategy,
            attempt=attempt,
            anchor=common_pb2.StateAnchor(hash="ab" * 32, as_of_ns=self.now_ns),
            proposer=common_pb2.Actor(id="policy", kind="strategy"),
            created_at_ns=self.now_ns,
            expires_at_ns=self.now_ns + 10 * MINUTE_NS,
        )
        self._proposed[trade_id] = intent
        self.publish(effects.publish(subjects.intent(account), intent, f"{trade_id}-{attempt}"))
        return entry_client_order_id(token_id(trade_id, attempt))

    def hold(self, trade_id: str, symbol: str = "AAA", qty: int = 10) -> str:
        """Enter, and wait for the position."""
        order = self.enter(trade_id, symbol, qty)
        self.until(lambda: self.qty(trade_id) == qty and self.is_quiet())
        return order

    def leave(self, trade_id: str) -> None:
        self._request_exit(trade_id, f"{self.now_ns}")

    def cancel_order(self, client_order_id: str) -> None:
        self._request_cancel(client_order_id)

    def crash(self, *names: str) -> None:
        """All services, unless some are named. What they hold in memory is gone."""
        for name in names or tuple(self.nodes):
            steps = self._nodes.pop(name, None)
            if steps is not None:
                steps.close()  # type: ignore[attr-defined]

    def take_down(self, name: str) -> None:
        self.crash(name)
        self._down[name] = 10**9

    def bring_up(self, name: str) -> None:
        self._down[name] = 0

    def pass_days(self, *percents: int) -> None:
        """Each day the price of AAA moves so far; its bar is on the bus in the evening, and may be read by then."""
        for percent in percents:
            self._price_units["AAA"] += self._price_units["AAA"] * percent // 100 // 100 * 100
            self.end_a_day()
            self.steps(60)

    def somebody_sells(self, symbol: str, qty: int) -> None:
        """On our account, and not we."""
        self._stranger_count += 1
        request = paper_pb2.PlaceOrderRequest(
            account=ACCOUNT,
            client_order_id=f"zz-by-hand-{self._stranger_count}",
            symbol=symbol,
            side=common_pb2.SIDE_SELL,
            order_qty=Number(qty, 0).message(),
            order_type=common_pb2.ORDER_TYPE_MARKET,
            time_in_force=common_pb2.TIME_IN_FORCE_DAY,
        )
        self.books.drift_symbol = symbol
        self.venue.apply(Kind.PLACE_ORDER, request, self.true_ns)

    def drift(self, symbol: str, qty: int) -> None:
        request = paper_pb2.InduceDriftRequest(account=ACCOUNT, symbol=symbol, qty=Number(qty, 0).message())
        self.books.drift_symbol = symbol
        self.venue.apply(Kind.INDUCE_DRIFT, request, self.true_ns)

    def publish_again(self, effect: Publish) -> None:
        """As if de-duplication had forgotten it."""
        self.bus.forget_ids(subjects.INTENTS)
        self.publish(effect)

    def let_pass(self, seconds: int) -> None:
        self.true_ns += seconds * SECOND_NS
        self.steps(200)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self._step()

    def until(self, condition: Callable[[], bool]) -> None:
        for count in range(STEPS_MAX):
            if condition():
                return
            if count % 400 == 399:
                self.true_ns += 4 * MINUTE_NS  # what waits for its time gets it
            self._step()
        raise AssertionError("it never came to that\n" + "\n".join(map(str, self.trace[-40:])))

    # --- what a scenario asks ----------------------------------------------------------------------------------------

    def is_quiet(self) -> bool:
        """All that was stored is journaled, and all that the venue said is stored."""
        return not self.referee.unjournaled() and not self.referee.unheard()

    @property
    def open_break_count(self) -> int:
        return self.open_breaks[ACCOUNT]

    def slot(self, trade_id: str) -> state_pb2.SlotSnapshot:
        return self.referee.slots().get(trade_id, state_pb2.SlotSnapshot())

    def is_over(self, trade_id: str) -> bool:
        return trade_id in self.referee.slots() and is_over(self.slot(trade_id))

    def qty(self, trade_id: str) -> int:
        return self.slot(trade_id).qty.units

    def venue_qty(self, symbol: str = "AAA") -> int:
        position = self.venue_account().positions.get(symbol)
        return position.qty_units if position else 0

    def order(self, client_order_id: str) -> Order | None:
        return self.venue_account().orders.get(client_order_id)

    def sent(self, client_order_id: str) -> int:
        return self.referee.sent_count(client_order_id)

    def counters_of_referee(self) -> Counter[str]:
        return self.referee.counters

    def alerts(self) -> Counter[str]:
        stored = self.bus.read(subjects.ALERTS)
        return Counter(audit_pb2.Alert.FromString(message.data).reason for message in stored)

    def signals(self, symbol: str) -> list[signal_pb2.Signal]:
        """What the policy made of each day of a symbol, as it is stored."""
        beads = (audit_pb2.Bead.FromString(one.data) for one in self.bus.read(subjects.BEADS, prefix="bead.signal."))
        return [bead.signal for bead in beads if bead.signal.symbol == symbol]

    def decisions(self, trade_id: str) -> list[str]:
        """The reasons of all decisions on a trade, in order."""
        beads = (audit_pb2.Bead.FromString(one.data) for one in self.bus.read(subjects.BEADS, prefix="bead.decision."))
        return [bead.decision.reason for bead in beads if bead.decision.intent_id == trade_id]
