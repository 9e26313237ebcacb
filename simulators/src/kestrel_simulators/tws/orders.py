"""Orders and executions as the broker keeps them, what is wrong with an order, and how an order is written down.

          transmit                      parent filled,
          is missing                    market open
    HELD ──────────────► WAITING ─────────────────────► WORKING ──────────► FILLED
      │  (nobody is told)   │ ▲ a child of a live parent,  │ in the matching engine
      │                     │ │ or outside market hours    ├──────────────► CANCELED   by request, parent, group, day
      └─────────────────────┴─┴────────────────────────────┴──────────────► INACTIVE   refused with 201

What is filled is the sum of the current executions, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from kestrel.common.v1 import common_pb2
from kestrel_domain.numbers import Number
from kestrel_simulators import matching
from kestrel_simulators.matching import Instrument
from kestrel_simulators.matching.money import AVERAGE_PRICE_EXTRA_SCALE, divided_half_even, divided_up
from kestrel_simulators.tws import hours as wall
from kestrel_simulators.tws.contracts import PRIMARY_EXCHANGE, Listing
from kestrel_simulators.tws.money import Booking
from kestrel_simulators.tws.replies import CompletedOrder, ExecDetails, OpenOrder, OrderState, OrderStatus
from kestrel_simulators.tws.terms import Contract, Order

MARKET, LIMIT, STOP, STOP_LIMIT, TRAIL = "MKT", "LMT", "STP", "STP LMT", "TRAIL"
_ENGINE_TYPES = {
    MARKET: common_pb2.ORDER_TYPE_MARKET,
    LIMIT: common_pb2.ORDER_TYPE_LIMIT,
    STOP: common_pb2.ORDER_TYPE_STOP,
    STOP_LIMIT: common_pb2.ORDER_TYPE_STOP_LIMIT,
    TRAIL: common_pb2.ORDER_TYPE_STOP,
}
_TIMES_IN_FORCE = {
    "DAY": common_pb2.TIME_IN_FORCE_DAY,
    "GTC": common_pb2.TIME_IN_FORCE_GTC,
    "IOC": common_pb2.TIME_IN_FORCE_IOC,
    "FOK": common_pb2.TIME_IN_FORCE_FOK,
}
_SIDES = {"BUY": common_pb2.SIDE_BUY, "SELL": common_pb2.SIDE_SELL}
_LIMITED, _STOPPED = (LIMIT, STOP_LIMIT), (STOP, STOP_LIMIT, TRAIL)
OCA_CANCEL, OCA_REDUCE, OCA_REDUCE_WITHOUT_BLOCK = 1, 2, 3
LIQUIDITY_ADDED, LIQUIDITY_REMOVED = 1, 2


class Stage(Enum):
    """Where an order is in its life."""

    HELD = "HELD"
    WAITING = "WAITING"
    WORKING = "WORKING"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    INACTIVE = "INACTIVE"


ENDED = (Stage.FILLED, Stage.CANCELED, Stage.INACTIVE)
_STATUS = {
    Stage.HELD: "ApiPending",
    Stage.WAITING: "PreSubmitted",
    Stage.FILLED: "Filled",
    Stage.CANCELED: "Cancelled",
    Stage.INACTIVE: "Inactive",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the broker says no: its number, and its words."""

    code: int
    text: str


@dataclass(slots=True, eq=False)
class LiveOrder:
    """An order at the broker, from its arrival for ever. ``terms`` is what was asked, as it is now, ``filled_in``."""

    perm_id: int
    client_id: int
    order_id: int
    listing: Listing
    contract: Contract
    terms: Order
    received_at_ns: int
    is_manual: bool = False
    parent: LiveOrder | None = None
    children: list[LiveOrder] = field(default_factory=list)
    # Account and name of the group of which one order cancels or reduces all.
    group: tuple[str, str] | None = None
    stage: Stage = Stage.HELD
    engine_order: matching.Order | None = None
    executions: list[Execution] = field(default_factory=list)
    execution_count: int = 0
    commission_units: int = 0
    is_cancel_pending: bool = False
    # The stop of a trailing order, which follows the price.
    trail_stop_units: int | None = None
    said_status: str = ""
    # Never an openOrder nor an orderStatus for it, live.
    is_status_withheld: bool = False
    done_at_ns: int = 0
    done_text: str = ""
    why_held: str = ""

    # ── Views ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def key(self) -> str:
        """Its name in the matching engine."""
        return str(self.perm_id)

    @property
    def account(self) -> str:
        return self.terms.account

    @property
    def instrument(self) -> Instrument:
        return self.listing.instrument

    @property
    def is_buy(self) -> bool:
        return self.terms.action == "BUY"

    @property
    def is_ended(self) -> bool:
        return self.stage in ENDED

    @property
    def qty_units(self) -> int:
        assert self.terms.total_quantity is not None
        return self.terms.total_quantity.at(self.instrument.qty_scale).units

    @property
    def filled_units(self) -> int:
        return sum(execution.qty_units for execution in self.executions if execution.is_current)

    @property
    def remaining_units(self) -> int:
        """What is not executed. An execution that was busted does not come back to life."""
        return self.qty_units - (self.engine_order.cum_qty_units if self.engine_order is not None else 0)

    @property
    def average_price(self) -> Number:
        """Of the current executions; 0 when there is none."""
        scale = self.instrument.price_scale + AVERAGE_PRICE_EXTRA_SCALE
        filled = self.filled_units
        if not filled:
            return Number(0, 1)
        notional = sum(each.qty_units * each.price_units for each in self.executions if each.is_current)
        return _short(Number(divided_half_even(notional * 10**AVERAGE_PRICE_EXTRA_SCALE, filled), scale))

    @property
    def status(self) -> str:
        """As the protocol writes it."""
        if self.is_cancel_pending and not self.is_ended:
            return "PendingCancel"
        if self.stage is Stage.WORKING:
            is_asleep = self.terms.order_type in _STOPPED and not (self.engine_order and self.engine_order.triggered)
            return "PreSubmitted" if is_asleep else "Submitted"
        return _STATUS[self.stage]

    def shown_order_id(self, viewer_id: int) -> int:
        """What a client sees. An order typed in by hand has a negative id for client 0 and none for others."""
        if self.is_manual:
            return self.order_id if viewer_id == 0 else 0
        return self.order_id

    # ── How it is written ──────────────────────────────────────────────────────────────────────────────

    def open_order(self, viewer_id: int = -1, *, state: OrderState | None = None) -> OpenOrder:
        return OpenOrder(
            order_id=self.shown_order_id(viewer_id),
            contract=self.contract,
            order=self._written(),
            state=state or OrderState(self.status),
            client_id=self.client_id,
            perm_id=self.perm_id,
        )

    def order_status(self, viewer_id: int = -1) -> OrderStatus:
        last = next((each for each in reversed(self.executions) if each.is_current and each.qty_units), None)
        return OrderStatus(
            order_id=self.shown_order_id(viewer_id),
            status=self.status,
            filled=self.listing.qty(self.filled_units),
            remaining=self.listing.qty(self.remaining_units),
            avg_fill_price=self.average_price,
            perm_id=self.perm_id,
            parent_id=self.terms.parent_id,
            last_fill_price=self.listing.price(last.price_units) if last else Number(0, 1),
            client_id=self.client_id,
            why_held=self.why_held,
        )

    def completed_order(self) -> CompletedOrder:
        """A rejected order is listed as canceled, with the reason."""
        return CompletedOrder(
            contract=self.contract,
            order=self._written(),
            status="Filled" if self.stage is Stage.FILLED else "Cancelled",
            perm_id=self.perm_id,
            filled_quantity=self.listing.qty(self.filled_units),
            completed_time=wall.text(self.done_at_ns),
            completed_status=self.done_text,
            parent_perm_id=self.parent.perm_id if self.parent else 0,
        )

    def _written(self) -> Order:
        """The order with the stop that follows the price."""
        stop = self.trail_stop_units
        return self.terms if stop is None else replace(self.terms, trail_stop_price=self.listing.price(stop))

    # ── How the engine is asked ────────────────────────────────────────────────────────────────────────

    def engine_request(self) -> matching.NewOrder:
        terms = self.terms
        assert terms.total_quantity is not None
        lot = terms.order_ref or f"{self.client_id}-{self.order_id}"
        return matching.NewOrder(
            account=self.account,
            client_order_id=self.key,
            symbol=self.instrument.symbol,
            side=_SIDES[terms.action],
            order_qty=terms.total_quantity,
            order_type=_ENGINE_TYPES[terms.order_type],
            time_in_force=_TIMES_IN_FORCE[terms.tif],
            price=self.limit_price,
            stop_price=self.stop_price,
            lot_key=lot,
        )

    @property
    def limit_price(self) -> Number | None:
        return self.terms.lmt_price if self.terms.order_type in _LIMITED else None

    @property
    def stop_price(self) -> Number | None:
        if self.terms.order_type == TRAIL:
            return None if self.trail_stop_units is None else self.listing.price(self.trail_stop_units)
        return self.terms.aux_price if self.terms.order_type in _STOPPED else None

    def trail(self, price_units: int) -> bool:
        """Let the stop of a trailing order follow a price; says whether it moved. It never moves back."""
        offset = self._trail_offset(price_units)
        tick = self.instrument.tick_units
        if self.is_buy:
            wanted = -(-(price_units + offset) // tick) * tick
        else:
            wanted = max((price_units - offset) // tick, 1) * tick
        held = self.trail_stop_units
        if held is not None and (wanted >= held if self.is_buy else wanted <= held):
            return False
        self.trail_stop_units = wanted
        return True

    def _trail_offset(self, price_units: int) -> int:
        percent = self.terms.trailing_percent
        if percent is not None:
            return divided_up(price_units * percent.units, int(100 * 10**percent.scale))
        assert self.terms.aux_price is not None
        return self.terms.aux_price.at(self.instrument.price_scale).units


@dataclass(slots=True, eq=False)
class Execution:
    """One revision of one execution. The stem names the execution, the revision the last word on it."""

    stem: str
    revision: int
    order: LiveOrder
    qty_units: int
    price_units: int
    time_ns: int
    is_maker: bool
    commission_units: int
    realized_units: int | None
    # Of its order, this one included, when it was said.
    cum_qty_units: int
    average_price: Number
    is_current: bool = True
    # What it cost is never told, also not to who asks.
    is_commission_withheld: bool = False

    @property
    def execution_id(self) -> str:
        return f"{self.stem}.{self.revision:02d}"

    @property
    def booking(self) -> Booking:
        signed = self.qty_units if self.order.is_buy else -self.qty_units
        return Booking(signed, self.price_units, self.commission_units)

    def details(self, req_id: int, viewer_id: int, zone: str = wall.ZONE) -> ExecDetails:
        order = self.order
        return ExecDetails(
            req_id=req_id,
            order_id=order.shown_order_id(viewer_id),
            contract=order.listing.contract(PRIMARY_EXCHANGE),
            exec_id=self.execution_id,
            time=wall.text(self.time_ns, zone),
            account=order.account,
            exchange=PRIMARY_EXCHANGE,
            side="BOT" if order.is_buy else "SLD",
            shares=order.listing.qty(self.qty_units),
            price=order.listing.price(self.price_units),
            perm_id=order.perm_id,
            client_id=order.client_id,
            liquidation=0,
            cum_qty=order.listing.qty(self.cum_qty_units),
            avg_price=self.average_price,
            order_ref=order.terms.order_ref,
            last_liquidity=LIQUIDITY_ADDED if self.is_maker else LIQUIDITY_REMOVED,
        )


def filled_in(terms: Order, account: str) -> Order:
    """What was asked, with what the broker fills in."""
    oca_type = terms.oca_type or OCA_REDUCE_WITHOUT_BLOCK
    return replace(terms, account=account, tif=terms.tif or "DAY", oca_type=oca_type, what_if=False)


# ── What is wrong with an order ────────────────────────────────────────────────────────────────────────


def problem_of(terms: Order, listing: Listing) -> Problem | None:
    """The first thing that is wrong with an order by itself, or None."""
    return _type_problem(terms) or _qty_problem(terms, listing.instrument) or _price_problem(terms, listing.instrument)


def _type_problem(terms: Order) -> Problem | None:
    if terms.action not in _SIDES:
        return _invalid("the side must be BUY or SELL")
    if terms.order_type not in _ENGINE_TYPES:
        return Problem(387, f"Unsupported order type for this exchange and security type: {terms.order_type}")
    if terms.tif and terms.tif not in _TIMES_IN_FORCE:
        return Problem(111, f"The TIF (Tif type) and the order type are incompatible: {terms.tif}")
    if terms.order_type in _STOPPED and terms.tif in ("IOC", "FOK"):
        return Problem(111, f"The TIF (Tif type) and the order type are incompatible: {terms.order_type} {terms.tif}")
    return None


def _qty_problem(terms: Order, instrument: Instrument) -> Problem | None:
    qty = terms.total_quantity
    if qty is None or qty.units == 0:
        return Problem(434, "The order size cannot be zero.")
    if qty.units < 0:
        return _invalid("the order size cannot be negative")
    if not _is_multiple(qty, instrument.lot_units, instrument.qty_scale):
        return Problem(10243, "Fractional-sized order cannot be placed via API. Please refer to the order size rules.")
    return None


def _price_problem(terms: Order, instrument: Instrument) -> Problem | None:
    needed = []
    if terms.order_type in _LIMITED:
        needed.append(terms.lmt_price)
    if terms.order_type in (STOP, STOP_LIMIT) or (terms.order_type == TRAIL and terms.trailing_percent is None):
        needed.append(terms.aux_price)
    if any(price is None for price in needed):
        return _invalid(f"a price of the {terms.order_type} order is missing")
    if terms.order_type == TRAIL:
        percent = terms.trailing_percent
        if percent is not None and not Number(0, 0) < percent < Number(100, 0):
            return _invalid("the trailing percentage must be between 0 and 100")
        needed.append(terms.trail_stop_price)
    for price in needed:
        if price is not None and price.units <= 0:
            return _invalid("a price must be positive")
        if price is not None and not _is_multiple(price, instrument.tick_units, instrument.price_scale):
            return Problem(110, "The price does not conform to the minimum price variation for this contract.")
    return None


def _invalid(what: str) -> Problem:
    return Problem(321, f"Error validating request: {what}.")


def _is_multiple(number: Number, step_units: int, scale: int) -> bool:
    wide = max(number.scale, scale)
    return bool(number.units * 10 ** (wide - number.scale) % (step_units * 10 ** (wide - scale)) == 0)


def _short(number: Number) -> Number:
    """Without the zeros at its end, but for one."""
    units, scale = number.units, number.scale
    while scale > 1 and units % 10 == 0:
        units, scale = units // 10, scale - 1
    return Number(units, scale)
