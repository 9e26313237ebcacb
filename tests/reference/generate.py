"""Random inputs, a pure function of a seed: mostly plausible, so that they lead somewhere, and every kind of wrong.

A ``World`` looks at the reference kernel to know which orders and executions there are; nothing else does it need of
it. Inputs are damaged, repeated and held back (so that they arrive out of order) on their way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from tests.reference.inputs import Config, Input
from tests.reference.machines import is_busy
from tests.reference.orders import next_deadline_ns
from tests.reference.state import Execution, Order, Slot, State, copied
from tests.reference.words import (
    BASIS_POINTS,
    BRACKET,
    EXIT_LEGS_MAX,
    FLAGS_ALL,
    HAS_AMOUNT,
    HAS_AVAILABLE,
    HAS_FEE,
    HAS_PRICE,
    HAS_QTY,
    HAS_REFERENCE,
    HAS_STOP,
    HAS_TARGET,
    ID_BYTES,
    INT64_MAX,
    INT64_MIN,
    NEVER_NS,
    READS,
    SLOTS_MAX,
    Fact,
    InputKind,
    Life,
    Liquidity,
    OrderType,
    Side,
    TimeInForce,
)

SECOND_NS = 10**9
NATURAL_FACTS = {
    Life.REQUESTED: [Fact.SUBMITTING] * 6 + [Fact.DENIED, Fact.ACKNOWLEDGED, Fact.REJECTED],
    Life.SENT: [Fact.ACKNOWLEDGED] * 8 + [Fact.REJECTED, Fact.IN_DOUBT, Fact.CANCELED, Fact.DENIED, Fact.SUBMITTING],
    Life.ACKED: [Fact.ACKNOWLEDGED] * 4 + [Fact.CANCELED, Fact.EXPIRED, Fact.REJECTED, Fact.CANCEL_REJECTED],
    Life.WORKING: [Fact.CANCELED] * 3 + [Fact.ACKNOWLEDGED, Fact.EXPIRED, Fact.CANCEL_REJECTED, Fact.IN_DOUBT],
}
BAD_TEXTS = [
    b"",
    b" blank",
    b"tab\t",
    b"high\xff",
    b"\0late",
    b"gap\0id",
    b"\x7f",
    b"no such one",
    b"nosuchone",
    b"x" * 64,
]
BAD_NUMBERS = [0, 1, -1, 2, 3, 255, INT64_MAX, INT64_MIN, INT64_MIN + 1, 2**62, -(2**62), 10**18, 10**17 + 1]
BAD_BYTES = [0, 1, 2, 3, 4, 5, 6, 9, 10, 12, 13, 18, 19, 255]
BAD_WORDS = [0, 1, 2, 2**31, 2**32 - 1]
BAD_LONG_WORDS = [0, 1, 2, 7, 2**63, 2**64 - 1]
_SIZES = {"symbol": 32, "currency": 16}
_BYTE_FIELDS = {"order_fact", "side", "order_type", "time_in_force", "liquidity", "price_scale", "qty_scale"}
_WORD_FIELDS = {"flags", "leverage", "instrument_version"}
_LONG_WORD_FIELDS = {"sequence", "venue_sequence", "execution_watermark"}


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is traded, as ENTER and ADOPT state it."""

    symbol: bytes
    price_scale: int
    qty_scale: int
    tick_units: int
    lot_units: int
    multiplier: int
    price: int


def config_of(seed: int) -> Config:
    """The kernel that a seed is about."""
    random = Random(f"config {seed}")
    tolerance = random.choice([0, 10, 10**6])
    slot_count = random.choices([1, 2, 3, 4, 7, 12, 70, SLOTS_MAX], [40, 20, 20, 20, 20, 20, 4, 1])[0]
    capitals = [0, *(10**12,) * 6, INT64_MAX] if slot_count <= 64 else [10**12]
    return Config(
        slot_count=slot_count,
        window_count=random.choice([16, 16, 32, 64]),
        leverage_max=random.choice([1, 10, 125]),
        amount_scale=random.choice([8, 8, 6, 10, 12]),
        maker_fee_rate=random.choice([0, 20_000, -10_000, 99_999_999]),
        taker_fee_rate=random.choice([0, 50_000, 60_000, -99_999_999]),
        ack_timeout_ns=random.choice([SECOND_NS, 60 * SECOND_NS, INT64_MAX]),
        funding_interval_ns=random.choice([0, 100 * SECOND_NS, 8 * 3600 * SECOND_NS, INT64_MAX - 1]),
        seed_capital=random.choice(capitals),
        ledger_tolerance=tolerance,
        ledger_error_tolerance=tolerance + random.choice([0, 10**7, 10**9]),
        settlement_tolerance=random.choice([0, 5, 10**8]),
        account=b"account-%d" % (seed % 7),
    )


class World:
    """People, a venue and a clock that all misbehave, for one kernel."""

    def __init__(self, seed: int, config: Config) -> None:
        self._random = Random(f"world {seed}")
        self._config = config
        self._is_large = config.slot_count > 64
        self._is_extreme = self._random.random() < 0.3
        self._now_ns = self._random.choice([0, 1, 10**18, 10**18, 10**18])
        self._sequence = self._trade_count = self._order_count = self._event_count = self._execution_count = 0
        self._venue_sequence = 0
        self._prefix = self._random.choice([b"", b"", b"p" * 15, b"q" * 31, b"r" * 32, b"s" * 55])
        self._past: list[Input] = []
        self._held: list[Input] = []
        symbol_count = config.slot_count if self._is_large else self._random.choice([1, 2, 4, 14])
        self._instruments = [self._instrument(index) for index in range(symbol_count)]
        acts = self._acts()
        self._weights = [weight * self._random.choice([0.3, 1, 1, 2]) for weight in acts.values()]
        self._makers = list(acts)

    def next(self, state: State) -> Input:
        """The next input for a kernel in this state."""
        random = self._random
        self._pass_time(state)
        if self._held and random.random() < 0.3:
            value = self._held.pop(random.randrange(len(self._held)))
        elif self._past and random.random() < 0.06:
            value = self._repeated()
        else:
            value = self._act(state)(state)
            if random.random() < 0.04:
                self._held.append(value)
                value = Input(InputKind.TICK)
        if random.random() < 0.07:
            value = self._damaged(value)
        self._sequence += 1
        value.now_ns, value.sequence = self._now_ns, self._sequence
        if random.random() < 0.025:
            value.now_ns = random.choice([self._now_ns - 1, 0, -1, INT64_MIN])
        self._past = [*self._past[-39:], value]
        return value

    def _acts(self) -> dict[Callable[[State], Input], float]:
        return {
            self._enter: 400 if self._is_large else 10,
            self._exit: 9,
            self._cancel: 2.5,
            self._mark: 4,
            self._tick: 3,
            self._report: 18,
            self._fill: 26,
            self._bust: 2.5,
            self._correction: 2.5,
            self._settlement: 7,
            self._balance: 6,
            self._funding: 1.5,
            self._foreign: 1.5,
            self._flatten: 1.3,
            self._cancel_working_entries: 1,
            self._freeze: 1.2,
            self._unfreeze: 4,
            self._adopt: 2,
        }

    def _act(self, state: State) -> Callable[[State], Input]:
        """Enter while there is room for it; else whatever comes."""
        random = self._random
        free = sum(not is_busy(slot) for slot in state.slots)
        act = random.choices(self._makers, self._weights)[0]
        if free == len(state.slots) and random.random() < 0.5:
            return self._enter
        return self._report if act == self._enter and free == 0 and random.random() < 0.8 else act

    # --- the ways of the world ---------------------------------------------------------------------------------------

    def _pass_time(self, state: State) -> None:
        random = self._random
        step_ns = random.choice([0, 1, SECOND_NS // 10, SECOND_NS, 7 * SECOND_NS])
        if random.random() < 0.03:
            step_ns = random.choice([59, 60, 61, 100, 8 * 3600]) * SECOND_NS
        if random.random() < 0.05:
            deadline_ns = min(next_deadline_ns(state), state.ledger.next_funding_ns)
            if self._now_ns < deadline_ns < NEVER_NS:
                step_ns = deadline_ns - self._now_ns - random.choice([0, 0, 1])
        if self._is_extreme and random.random() < 0.0005:
            step_ns = INT64_MAX
        self._now_ns = min(INT64_MAX, self._now_ns + max(0, step_ns))

    def _repeated(self) -> Input:
        """The same again, or the same content under another event id."""
        value = copied(self._random.choice(self._past))
        if self._random.random() < 0.5:
            value.event_id = self._event_id()
        return value

    def _damaged(self, value: Input) -> Input:
        read = [*READS[InputKind(value.kind)].split(), "flags", "event_id"]
        value, name = copied(value), self._random.choice(read if self._random.random() < 0.7 else _DAMAGEABLE)
        setattr(value, name, self._bad_value(name))
        return value

    def _bad_value(self, name: str) -> int | bytes | tuple[int, ...]:
        random = self._random
        if name in _BYTE_FIELDS:
            return random.choice(BAD_BYTES)
        if name in _WORD_FIELDS:
            return random.choice([*BAD_WORDS, random.randrange(FLAGS_ALL + 1)])
        if name in _LONG_WORD_FIELDS:
            return random.choice(BAD_LONG_WORDS)
        if name == "exit_leg_bps":
            return tuple(random.choice([0, 1, 5000, BASIS_POINTS, BASIS_POINTS + 1]) for _ in range(EXIT_LEGS_MAX))
        if name in _TEXT_FIELDS:
            return self._bad_text(_SIZES.get(name, ID_BYTES))
        return random.choice(BAD_NUMBERS)

    def _bad_text(self, size: int) -> bytes:
        """A known kind of bad, or one wrong character at any place of a text of any length."""
        random = self._random
        if random.random() < 0.5:
            return random.choice(BAD_TEXTS)[:size]
        text = bytearray(random.randint(0x21, 0x7E) for _ in range(random.randint(1, size)))
        text[random.randrange(len(text))] = random.choice(b"\0\x01\x20\x7f\x80\xff!~")
        return bytes(text).rstrip(b"\0")

    # --- what there is -----------------------------------------------------------------------------------------------

    def _instrument(self, index: int) -> Instrument:
        random, amount_scale = self._random, self._config.amount_scale
        price_scale = random.randint(0, min(4, amount_scale))
        if self._is_extreme:
            price_scale = random.randint(0, amount_scale)
        return Instrument(
            symbol=b"SYM%d" % index,
            price_scale=price_scale,
            qty_scale=random.randint(0, amount_scale - price_scale),
            tick_units=random.choice([1, 1, 5]),
            lot_units=random.choice([1, 1, 10]),
            multiplier=random.choice([1, 1, 1, 100, 2**40] if self._is_extreme else [1, 1, 1, 100]),
            price=random.choice([1, 20, 1_000, 50_000]),
        )

    def _event_id(self) -> bytes:
        self._event_count += 1
        return self._prefix + b"e%d" % self._event_count

    def _new_order_id(self) -> bytes:
        self._order_count += 1
        clash = self._random.random() < 0.01  # with what a bracket of the next id would call its stop
        return self._prefix + (b"o%d-S" % (self._order_count + 1) if clash else b"o%d" % self._order_count)

    def _used_slot(self, state: State) -> Slot | None:
        used = [slot for slot in state.slots if slot.trade_sequence]
        busy = [slot for slot in used if is_busy(slot)]
        if busy and self._random.random() < 0.85:
            used = busy
        return self._random.choice(used) if used else None

    def _some_order(self, state: State) -> tuple[Slot | None, Order | None]:
        """A live one, most of the time."""
        slot = self._used_slot(state)
        if slot is None:
            return None, None
        orders = [order for _, order in slot.orders()]
        live = [order for order in orders if order.is_live]
        return slot, self._random.choice(live if live and self._random.random() < 0.85 else orders)

    def _some_execution(self, state: State) -> Execution | None:
        if not state.executions or self._random.random() < 0.04:
            return None
        recent = list(state.executions.values())[-8:]
        waiting = [one for one in recent if one.waits_for_figure or one.fee_is_predicted]
        return self._random.choice(waiting if waiting and self._random.random() < 0.6 else recent)

    def _qty(self, usual: int) -> int:
        if self._is_extreme and self._random.random() < 0.1:
            return self._random.choice([2**62, INT64_MAX, 2**53, 10**15, 2**40])
        return usual

    def _amount(self, usual: int) -> int:
        if self._random.random() < (0.25 if self._is_extreme else 0.01):
            return self._random.choice([INT64_MAX, INT64_MIN, INT64_MIN + 1, 2**62, -(2**62), 10**18])
        return usual

    def _identity(self, order: Order | None) -> dict[str, Any]:
        """By which of its ids a report names an order."""
        client = order.client_order_id if order is not None else b"o-unknown"
        venue = (order.venue_order_id if order is not None else b"") or (b"v" + client)[:ID_BYTES]
        how = self._random.random()
        if how < 0.45:
            return {"client_order_id": client, "venue_order_id": venue}
        if how < 0.7:
            return {"client_order_id": client}
        if how < 0.97:
            return {"venue_order_id": venue}
        return {"client_order_id": client, "venue_order_id": b"vo%d" % self._random.randint(1, self._order_count + 1)}

    # --- requests ----------------------------------------------------------------------------------------------------

    def _terms(self, instrument: Instrument) -> dict[str, Any]:
        return {
            "symbol": instrument.symbol,
            "currency": self._random.choice([b"USD", b"", b"EUR"]),
            "price_scale": instrument.price_scale,
            "qty_scale": instrument.qty_scale,
            "tick_units": instrument.tick_units,
            "lot_units": instrument.lot_units,
            "multiplier": instrument.multiplier,
            "instrument_version": self._random.randint(0, 3),
            "strategy": self._random.choice([b"", b"s1", b"s2"]),
        }

    def _trade_id(self, state: State) -> bytes:
        """A new one; now and then a further attempt."""
        slot = self._used_slot(state)
        if slot is not None and self._random.random() < 0.1:
            return slot.trade_id
        self._trade_count += 1
        return self._prefix + b"t%d" % self._trade_count

    def _price_near(self, price: int, tick_units: int) -> int:
        units = max(1, price + self._random.randint(-9, 9) * max(1, price // 100))
        return max(tick_units, units - units % tick_units)

    def _untraded(self, state: State) -> Instrument | None:
        """One that no open trade is in, most of the time."""
        traded = {slot.symbol for slot in state.slots if is_busy(slot)}
        untraded = [one for one in self._instruments if one.symbol not in traded]
        return self._random.choice(untraded) if untraded and self._random.random() < 0.9 else None

    def _legs(self) -> tuple[int, ...]:
        legs = self._random.choice(
            [(), (), (5000, 5000), (2500, 2500, 5000), (1, 1), (3333,) * EXIT_LEGS_MAX, (500,) * EXIT_LEGS_MAX]
        )
        return (*legs, *(0,) * (EXIT_LEGS_MAX - len(legs)))

    def _enter(self, state: State) -> Input:
        random = self._random
        instrument = self._untraded(state) or random.choice(self._instruments)
        order_type = random.choice([OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT, OrderType.STOP_LIMIT])
        flags = random.choice([0, 0, HAS_REFERENCE, HAS_STOP | HAS_TARGET, HAS_STOP | HAS_TARGET | HAS_REFERENCE])
        value = Input(
            InputKind.ENTER,
            event_id=self._event_id(),
            trade_id=self._trade_id(state),
            client_order_id=self._new_order_id(),
            side=random.choice([Side.BUY, Side.SELL]),
            order_type=order_type,
            time_in_force=random.randint(TimeInForce.DAY, TimeInForce.GTD),
            qty=self._qty(instrument.lot_units * random.choice([1, 3, 10, 100, 999])),
            flags=flags | (0 if order_type == OrderType.MARKET else HAS_PRICE),
            price=self._price_near(instrument.price, instrument.tick_units),
            stop_price=self._price_near(instrument.price, 1),
            target_price=self._qty(self._price_near(instrument.price, 1)),
            reference_price=self._price_near(instrument.price, 1),
            leverage=random.choice([1, 1, self._config.leverage_max]),
            expires_at_ns=random.choice([0, 0, 0, min(INT64_MAX, self._now_ns + SECOND_NS)]),
            exit_leg_bps=self._legs(),
            **self._terms(instrument),
        )
        return self._as_bracket(value, instrument) if random.random() < 0.4 else value

    def _as_bracket(self, value: Input, instrument: Instrument) -> Input:
        """With a stop and most often a target around its price, now and then on the wrong side of it or off tick."""
        random, tick = self._random, instrument.tick_units
        value.flags |= BRACKET | HAS_STOP | random.choice([0, HAS_TARGET, HAS_TARGET])
        value.price += 3 * tick  # so that there is room below it
        up = 1 if value.side == Side.BUY else -1
        value.stop_price = value.price - up * tick * random.choice([1, 2, 2, 2, 0])
        value.target_price = value.price + up * tick * random.choice([1, 2, 2, 2, 2, 2, 0, -1])
        if random.random() < 0.05:
            value.target_price += 1
        if random.random() < 0.9:
            value.exit_leg_bps = (0,) * EXIT_LEGS_MAX
        return value

    def _adopt(self, state: State) -> Input:
        random = self._random
        instrument = self._untraded(state) or random.choice(self._instruments)
        return Input(
            InputKind.ADOPT,
            event_id=self._event_id(),
            trade_id=self._trade_id(state),
            qty=self._qty(random.choice([1, 7, 100])) * random.choice([1, -1]),
            price=self._price_near(instrument.price, 1),
            leverage=random.choice([0, 1, 50]),
            **self._terms(instrument),
        )

    def _exit(self, state: State) -> Input:
        return self._exit_of(self._used_slot(state))

    def _exit_of(self, slot: Slot | None) -> Input:
        random = self._random
        open_qty = slot.book.open_qty if slot is not None else 1
        scale = slot.qty_scale if slot is not None else 0
        finer = random.choice([0, 0, 0, 1, 12])
        is_limit = random.random() < 0.4
        return Input(
            InputKind.EXIT,
            event_id=self._event_id(),
            trade_id=slot.trade_id if slot is not None else b"t-unknown",
            client_order_id=self._new_order_id(),
            order_type=random.choice([OrderType.LIMIT, OrderType.STOP]) if is_limit else random.choice([0, 1]),
            time_in_force=random.randint(0, TimeInForce.GTD + 1),
            flags=random.choice([0, HAS_QTY]) | (HAS_PRICE if is_limit and random.random() < 0.9 else 0),
            qty=_fitting(random.choice([open_qty, open_qty // 2, 1, open_qty + 1, 10]) * 10**finer),
            qty_scale=(scale + finer) % 256,
            price=_fitting(self._price_near(50, 1) * random.choice([1, 10, 100])),
            price_scale=slot.price_scale + random.choice([0, 1]) if slot is not None else 0,
        )

    def _cancel(self, state: State) -> Input:
        _, order = self._some_order(state)
        order_id = order.client_order_id if order is not None else b"o-unknown"
        return Input(InputKind.CANCEL, event_id=self._event_id(), client_order_id=order_id)

    def _scope(self) -> dict[str, Any]:
        random = self._random
        return {
            "strategy": random.choice([b"", b"", b"s1", b"s9"]),
            "symbol": random.choice([b"", b"", random.choice(self._instruments).symbol]),
        }

    def _flatten(self, _state: State) -> Input:
        root = self._random.choice([b"f%d" % self._event_count, b"f0", b"f" * 60, b"f" * 61])
        return Input(InputKind.FLATTEN, event_id=self._event_id(), client_order_id=root, **self._scope())

    def _cancel_working_entries(self, _state: State) -> Input:
        return Input(InputKind.CANCEL_WORKING_ENTRIES, event_id=self._event_id(), **self._scope())

    def _freeze(self, _state: State) -> Input:
        return Input(InputKind.FREEZE, event_id=self._event_id())

    def _unfreeze(self, _state: State) -> Input:
        return Input(InputKind.UNFREEZE, event_id=self._event_id())

    # --- facts -------------------------------------------------------------------------------------------------------

    def _mark(self, _state: State) -> Input:
        random = self._random
        instrument = random.choice(self._instruments)
        finer, wild = random.choice([0, 0, 1, 3]), self._is_extreme and random.random() < 0.2
        return Input(
            InputKind.MARK_PRICE,
            symbol=instrument.symbol,
            price=random.choice([INT64_MAX, 2**60]) if wild else self._price_near(instrument.price, 1),
            price_scale=instrument.price_scale + finer,
        )

    def _tick(self, _state: State) -> Input:
        return Input(InputKind.TICK)

    def _report(self, state: State) -> Input:
        _, order = self._some_order(state)
        natural = NATURAL_FACTS.get(Life(order.life) if order is not None else Life.NONE)
        fact = self._random.choice(natural if natural and self._random.random() < 0.9 else list(Fact))
        return Input(InputKind.ORDER, event_id=self._event_id(), order_fact=fact, **self._identity(order))

    def _fill(self, state: State) -> Input:
        random = self._random
        slot, order = self._some_order(state)
        if slot is not None and order is not None and not order.is_live and random.random() < 0.7:
            return self._exit_of(slot) if slot.book.open_qty > 0 and slot.live_exit is None else self._enter(state)
        self._execution_count += 1
        qty_left = max(1, order.leaves_qty) if order is not None else 1
        side = order.side if order is not None else Side.BUY
        value = Input(
            InputKind.FILL,
            event_id=self._event_id(),
            execution_id=self._prefix + b"x%d" % self._execution_count,
            side=side if random.random() < 0.97 else 3 - side,
            liquidity=random.choice([Liquidity.NONE, Liquidity.MAKER, Liquidity.TAKER, Liquidity.TAKER]),
            **self._figures(slot, random.choice([qty_left, qty_left, qty_left // 2 or 1, 1, qty_left + 1])),
            **self._identity(order),
        )
        if slot is not None and random.random() < 0.06:  # without any identity
            value.client_order_id = value.venue_order_id = b""
            value.symbol = slot.symbol
        return value

    def _figures(self, slot: Slot | None, qty: int) -> dict[str, Any]:
        """Quantity, price and fee of an execution, at scales of the venue's choice."""
        random = self._random
        price_scale, qty_scale = (slot.price_scale, slot.qty_scale) if slot is not None else (0, 0)
        near = next((one.price for one in self._instruments if slot is not None and one.symbol == slot.symbol), 1)
        qty_finer, price_finer = random.choice([0, 0, 0, 0, 2]), random.choice([0, 0, 0, 0, 1])
        price = self._price_near(near, 1)
        expected_fee = self._expected_fee(slot, price, qty)
        flags = (HAS_PRICE if random.random() < 0.9 else 0) | (HAS_FEE if random.random() < 0.4 else 0)
        return {
            "flags": flags,
            "qty": _fitting(self._qty(qty) * 10**qty_finer + (qty_finer and random.choice([0, 0, 0, 1]))),
            "qty_scale": qty_scale + qty_finer,
            "price": _fitting(self._qty(price) * 10**price_finer + random.choice([0, 3]) * (price_finer > 0)),
            "price_scale": price_scale + price_finer,
            "fee": self._amount(_fitting(expected_fee * random.choice([100, 100, 95, 112, 130, 0]) // 100)),
        }

    def _expected_fee(self, slot: Slot | None, price: int, qty: int) -> int:
        """About what the taker's rate makes of it."""
        if slot is None:
            return 1
        digits = max(0, self._config.amount_scale - slot.price_scale - slot.qty_scale)
        return int(price * qty * slot.multiplier * 10**digits * self._config.taker_fee_rate // 10**8)

    def _bust(self, state: State) -> Input:
        execution = self._some_execution(state)
        return Input(InputKind.BUST, event_id=self._event_id(), execution_id=_id_of(execution))

    def _correction(self, state: State) -> Input:
        execution = self._some_execution(state)
        slot = state.slots[execution.slot_index] if execution is not None else None
        qty = execution.qty if execution is not None else 1
        return Input(
            InputKind.CORRECTION,
            event_id=self._event_id(),
            execution_id=_id_of(execution),
            liquidity=self._random.choice(list(Liquidity)),
            **self._figures(slot, self._random.choice([qty, qty, qty + 1, qty // 2 or 1])),
        )

    def _settlement(self, state: State) -> Input:
        random = self._random
        execution = self._some_execution(state)
        realized = execution.realized if execution is not None else 0
        fee = execution.fee if execution is not None else 0
        return Input(
            InputKind.SETTLEMENT,
            event_id=self._event_id(),
            execution_id=_id_of(execution),
            flags=random.choice([HAS_AMOUNT, HAS_FEE, HAS_AMOUNT | HAS_FEE, HAS_AMOUNT | HAS_FEE, 0]),
            amount=self._amount(realized + random.choice([0, 0, 3, 10**9, -(10**9)]) if abs(realized) < 2**62 else 0),
            fee=self._amount(_fitting(fee * random.choice([100, 100, 97, 108, 200]) // 100)),
        )

    def _balance(self, state: State) -> Input:
        random, ledger = self._random, state.ledger
        self._venue_sequence += random.choice([0, 1, 1, 1, 2])
        noise = random.choice([*(0,) * 12, 1, 5 * 10**6, -(10**8), 10**10])
        wallet = self._wallet(state, noise)
        count = ledger.execution_count
        watermark = random.choice([0, 0, count, count - 1, count - 2, count + 1, count + 2, count - 20])
        if random.random() < 0.02:
            wallet = random.choice([0, -1, INT64_MAX, 1])
        return Input(
            InputKind.BALANCE,
            event_id=self._event_id(),
            flags=random.choice([0, HAS_AVAILABLE]),
            amount=wallet,
            available=wallet // 2,
            venue_sequence=random.choice([0, self._venue_sequence, self._venue_sequence]),
            execution_watermark=max(0, watermark),
        )

    def _wallet(self, state: State, noise: int) -> int:
        """What the venue would say, if all our bookings were right; then a little wrong."""
        base = state.ledger.wallet if state.ledger.has_anchor else self._config.seed_capital
        return _fitting(max(1, base + state.ledger.bridge + noise))

    def _funding(self, state: State) -> Input:
        amount = self._amount(self._random.choice([-(10**6), 10**6, 5, 0]))
        if self._is_extreme and self._random.random() < 0.3:  # to the very edge
            edge = self._random.choice([INT64_MAX, INT64_MIN])
            amount = _fitting(edge - self._random.choice([state.ledger.bridge, state.ledger.funding]))
        return Input(InputKind.FUNDING, event_id=self._event_id(), amount=amount)

    def _foreign(self, _state: State) -> Input:
        random = self._random
        return Input(
            InputKind.FOREIGN,
            event_id=self._event_id(),
            flags=random.choice([0, HAS_AMOUNT, HAS_FEE, HAS_AMOUNT | HAS_FEE]),
            symbol=random.choice([b"", random.choice(self._instruments).symbol]),
            amount=self._amount(random.choice([0, 10**6, -(10**8)])),
            fee=self._amount(random.choice([0, 10**4])),
        )


_DAMAGEABLE = [field.name for field in fields(Input) if field.name not in ("kind", "now_ns", "sequence")]
_TEXT_FIELDS = {name for name in _DAMAGEABLE if name.endswith("_id") or name in ("strategy", "symbol", "currency")}


def _id_of(execution: Execution | None) -> bytes:
    return execution.execution_id if execution is not None else b"x-unknown"


def _fitting(value: int) -> int:
    """Inputs are 64-bit, whatever is asked of them."""
    return max(INT64_MIN, min(INT64_MAX, value))
