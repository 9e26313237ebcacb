"""Hypothesis plays people, a venue and a process that dies: whatever it does, library and reference stay the same.

Each machine has two accounts, interleaved, so that nothing of one can leak into the other. What an order or an
execution is called follows from counting; which of them a rule is about is drawn.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.reference.inputs import Config, Input
from tests.reference.pair import Pair
from tests.reference.state import Execution, Order, Slot
from tests.reference.words import (
    HAS_AMOUNT,
    HAS_FEE,
    HAS_PRICE,
    HAS_QTY,
    WITHOUT_EVENT_ID,
    Code,
    Fact,
    InputKind,
    Liquidity,
    OrderType,
    Side,
    TimeInForce,
)

SECOND_NS = 10**9
SETTINGS = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
ACCOUNT = st.integers(0, 1)
PLACE = st.integers(0, 20)
QTY = st.integers(1, 40)
PRICE = st.integers(900, 1100)
MAYBE_PRICE = st.none() | PRICE
MAYBE_AMOUNT = st.none() | st.integers(-5000, 5000)
REPORTED_FACTS = st.sampled_from([fact for fact in Fact if fact not in (Fact.NONE, Fact.TRADED)])


class Accounts(RuleBasedStateMachine):
    """Two accounts of two slots each; every step is compared by ``Pair``."""

    restarts_always = False
    repeats_always = False

    def __init__(self) -> None:
        super().__init__()
        self.pairs = [Pair(_config(account)) for account in range(2)]
        self.now_ns = self.count = 0

    # --- people ------------------------------------------------------------------------------------------------------

    @rule(
        account=ACCOUNT,
        side=st.sampled_from([Side.BUY, Side.SELL]),
        symbol=st.sampled_from([b"A", b"B", b"C"]),
        qty=QTY,
        price=MAYBE_PRICE,
        legs=st.sampled_from([(), (5000, 5000), (2500, 2500, 5000)]),
    )
    def enter(self, account: int, side: int, symbol: bytes, qty: int, price: int | None, legs: tuple[int, ...]) -> None:
        self.give(
            account,
            InputKind.ENTER,
            trade_id=b"t%d" % self.count,
            client_order_id=b"o%d" % self.count,
            side=side,
            order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            qty=qty,
            **_stated(HAS_PRICE, price=price),
            leverage=3,
            exit_leg_bps=(*legs, *(0,) * (8 - len(legs))),
            **_instrument(symbol),
        )

    @precondition(lambda self: self.slots())
    @rule(place=PLACE, qty=st.none() | QTY, price=MAYBE_PRICE)
    def exit(self, place: int, qty: int | None, price: int | None) -> None:
        account, slot = self.pick(self.slots(), place)
        stated = {**_stated(HAS_QTY, qty=qty), **_stated(HAS_PRICE, price=price)}
        stated["flags"] = (HAS_QTY if qty else 0) | (HAS_PRICE if price else 0)
        self.give(
            account,
            InputKind.EXIT,
            trade_id=slot.trade_id,
            client_order_id=b"o%d" % self.count,
            order_type=OrderType.LIMIT if price else OrderType.MARKET,
            price_scale=2,
            **stated,
        )

    @precondition(lambda self: self.orders())
    @rule(place=PLACE)
    def cancel(self, place: int) -> None:
        account, order = self.pick(self.orders(), place)
        self.give(account, InputKind.CANCEL, client_order_id=order.client_order_id)

    @rule(account=ACCOUNT, kind=st.sampled_from([InputKind.FREEZE, InputKind.UNFREEZE]))
    def freeze_or_not(self, account: int, kind: InputKind) -> None:
        self.give(account, kind)

    @rule(account=ACCOUNT)
    def flatten(self, account: int) -> None:
        self.give(account, InputKind.FLATTEN, client_order_id=b"f%d" % self.count)

    @rule(account=ACCOUNT, qty=QTY, price=PRICE, sign=st.sampled_from([1, -1]))
    def adopt(self, account: int, qty: int, price: int, sign: int) -> None:
        self.give(
            account, InputKind.ADOPT, trade_id=b"t%d" % self.count, qty=sign * qty, price=price, **_instrument(b"D")
        )

    # --- the venue ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.orders())
    @rule(place=PLACE, fact=REPORTED_FACTS)
    def report(self, place: int, fact: Fact) -> None:
        account, order = self.pick(self.orders(), place)
        self.give(account, InputKind.ORDER, order_fact=fact, **_names_of(order))

    @precondition(lambda self: self.orders())
    @rule(place=PLACE, qty=st.none() | QTY, price=MAYBE_PRICE, fee=st.none() | st.integers(0, 9))
    def fill(self, place: int, qty: int | None, price: int | None, fee: int | None) -> None:
        """All that is left, or any quantity; early, late or too much as it comes."""
        account, order = self.pick(self.orders(), place)
        self.give(
            account,
            InputKind.FILL,
            execution_id=b"x%d" % self.count,
            side=order.side,
            liquidity=Liquidity.TAKER,
            qty=qty or max(1, order.leaves_qty),
            flags=(HAS_PRICE if price else 0) | (HAS_FEE if fee is not None else 0),
            price=price or 0,
            fee=fee or 0,
            price_scale=2,
            **_names_of(order),
        )

    @precondition(lambda self: self.executions())
    @rule(place=PLACE)
    def bust(self, place: int) -> None:
        account, execution = self.pick(self.executions(), place)
        self.give(account, InputKind.BUST, execution_id=execution.execution_id)

    @precondition(lambda self: self.executions())
    @rule(place=PLACE, qty=QTY, price=MAYBE_PRICE)
    def correct(self, place: int, qty: int, price: int | None) -> None:
        account, execution = self.pick(self.executions(), place)
        stated = _stated(HAS_PRICE, price=price)
        self.give(account, InputKind.CORRECTION, execution_id=execution.execution_id, qty=qty, price_scale=2, **stated)

    @precondition(lambda self: self.executions())
    @rule(place=PLACE, amount=MAYBE_AMOUNT, fee=st.none() | st.integers(0, 9))
    def settle(self, place: int, amount: int | None, fee: int | None) -> None:
        account, execution = self.pick(self.executions(), place)
        self.give(
            account,
            InputKind.SETTLEMENT,
            execution_id=execution.execution_id,
            flags=(HAS_AMOUNT if amount is not None else 0) | (HAS_FEE if fee is not None else 0),
            amount=amount or 0,
            fee=fee or 0,
        )

    @rule(account=ACCOUNT, off=st.sampled_from([0, 0, 0, 3, -60, 1000]), watermark=st.integers(0, 12))
    def balance(self, account: int, off: int, watermark: int) -> None:
        state = self.pairs[account].reference.state
        base = state.ledger.wallet if state.ledger.has_anchor else state.config.seed_capital
        amount = max(1, base + state.ledger.bridge + off)
        self.give(account, InputKind.BALANCE, amount=amount, execution_watermark=watermark)

    @rule(account=ACCOUNT, amount=st.integers(-20, 20))
    def funding(self, account: int, amount: int) -> None:
        self.give(account, InputKind.FUNDING, amount=amount)

    @rule(account=ACCOUNT, amount=MAYBE_AMOUNT, symbol=st.sampled_from([b"", b"A"]))
    def foreign(self, account: int, amount: int | None, symbol: bytes) -> None:
        self.give(account, InputKind.FOREIGN, symbol=symbol, **_stated(HAS_AMOUNT, amount=amount))

    @rule(account=ACCOUNT, symbol=st.sampled_from([b"A", b"B"]), price=PRICE)
    def mark(self, account: int, symbol: bytes, price: int) -> None:
        self.give(account, InputKind.MARK_PRICE, symbol=symbol, price=price, price_scale=2)

    @rule(account=ACCOUNT, seconds=st.sampled_from([1, 60, 3600]))
    def tick(self, account: int, seconds: int) -> None:
        self.now_ns += seconds * SECOND_NS
        self.give(account, InputKind.TICK)

    # --- the process -------------------------------------------------------------------------------------------------

    @rule(account=ACCOUNT)
    def restart(self, account: int) -> None:
        self.pairs[account].restart()

    def teardown(self) -> None:
        for pair in self.pairs:
            pair.compare_all()
            pair.replay()

    # --- how ---------------------------------------------------------------------------------------------------------

    def give(self, account: int, kind: InputKind, **stated: Any) -> None:
        """One input to one account, with an event id of its own; then what this machine is about."""
        pair = self.pairs[account]
        self.count += 1
        value = Input(kind, now_ns=self.now_ns, sequence=self.count, event_id=b"e%d" % self.count, **stated)
        outcome = pair.apply(value)
        if self.repeats_always and outcome.accepted and kind not in WITHOUT_EVENT_ID:
            before = pair.subject.digest()
            assert pair.apply(value).code == Code.DUPLICATE_EVENT
            assert pair.subject.digest() == before
        if self.restarts_always:
            before = pair.subject.digest()
            pair.restart()
            assert pair.subject.digest() == before

    def slots(self) -> list[tuple[int, Slot]]:
        return [
            (account, slot)
            for account, pair in enumerate(self.pairs)
            for slot in pair.reference.state.slots
            if slot.trade_sequence
        ]

    def orders(self) -> list[tuple[int, Order]]:
        return [
            (account, order) for account, slot in self.slots() for _, order in slot.orders() if order.client_order_id
        ]

    def executions(self) -> list[tuple[int, Execution]]:
        return [
            (account, execution)
            for account, pair in enumerate(self.pairs)
            for execution in pair.reference.state.executions.values()
        ]

    @staticmethod
    def pick(things: list[tuple[int, Any]], place: int) -> tuple[int, Any]:
        """The newest for 0."""
        return things[-1 - place % len(things)]


class RestartingAccounts(Accounts):
    """Saved and restored into a fresh process after every single input."""

    restarts_always = True


class RepeatingAccounts(Accounts):
    """Every input is delivered twice."""

    repeats_always = True


def test_two_accounts_interleaved_stay_the_same_as_the_reference_K21() -> None:
    run_state_machine_as_test(Accounts, settings=SETTINGS)


def test_a_restart_after_every_input_changes_nothing_K21() -> None:
    run_state_machine_as_test(RestartingAccounts, settings=SETTINGS)


def test_every_input_delivered_twice_counts_once_K10() -> None:
    run_state_machine_as_test(RepeatingAccounts, settings=SETTINGS)


@settings(max_examples=100, deadline=None)
@given(
    is_adopted=st.booleans(),
    amounts=st.lists(st.integers(-5000, 5000), min_size=1, max_size=4),
    restarts=st.sets(st.integers(0, 20)),
)
def test_after_a_restart_or_an_adoption_only_the_increment_settles_K12(
    is_adopted: bool, amounts: list[int], restarts: set[int]
) -> None:
    """A position is left by fills without a price; the venue's figure for each is booked once, wherever it restarts."""
    accounts = Accounts()
    account = accounts.pairs[0].reference

    def give(kind: InputKind, **stated: Any) -> None:
        accounts.give(0, kind, **stated)
        if accounts.count in restarts:
            accounts.restart(0)

    if is_adopted:
        give(InputKind.ADOPT, trade_id=b"t", qty=len(amounts), price=1000, **_instrument(b"A"))
    else:
        accounts.enter(0, Side.BUY, b"A", len(amounts), 1000, ())
        accounts.fill(0, None, 1000, None)
    assert account.account().realized_pnl == 0
    trade_id = account.state.slots[0].trade_id
    give(InputKind.EXIT, trade_id=trade_id, client_order_id=b"exit")
    for index in range(len(amounts)):
        give(InputKind.FILL, execution_id=b"exit-%d" % index, client_order_id=b"exit", side=Side.SELL, qty=1)
    assert account.account().realized_pnl == 0
    for twice in range(2):
        for index, amount in enumerate(amounts):
            give(InputKind.SETTLEMENT, execution_id=b"exit-%d" % index, flags=HAS_AMOUNT, amount=amount)
            booked = sum(amounts) if twice else sum(amounts[: index + 1])
            assert account.account().realized_pnl == booked
    accounts.teardown()


def _config(account: int) -> Config:
    return Config(
        slot_count=2,
        window_count=16,
        leverage_max=3,
        amount_scale=4,
        maker_fee_rate=20_000,
        taker_fee_rate=50_000,
        funding_interval_ns=3600 * SECOND_NS,
        seed_capital=10**9,
        ledger_tolerance=5,
        ledger_error_tolerance=100,
        settlement_tolerance=50,
        account=b"account-%d" % account,
    )


def _instrument(symbol: bytes) -> dict[str, Any]:
    return {"symbol": symbol, "price_scale": 2, "tick_units": 1, "lot_units": 1, "multiplier": 1}


def _names_of(order: Order) -> dict[str, bytes]:
    return {"client_order_id": order.client_order_id, "venue_order_id": b"v" + order.client_order_id}


def _stated(flag: int, **value: int | None) -> dict[str, Any]:
    """A field and its flag, or neither."""
    stated = {name: number for name, number in value.items() if number is not None}
    return {**stated, "flags": flag} if stated else {}
