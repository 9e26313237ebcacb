"""The wallet of an account whose venue states cash.

The kernel's wallet moves by realized profit, fees and funding. Here cash moves by the whole notional of each trade:

    wallet = TotalCashValue + sum over open positions of (signed quantity x multiplier x average trade price)

The average trade price comes from executions, without commissions, so opening a position moves the wallet by its
commission only, and closing it by the profit as well. It is exact for every position that was flat when the
executions begin that the venue still tells, at midnight, or when this process began. A position from before has its
cost from the venue's average, which contains the commissions paid for it: the wallet is higher by these until then.

Positions in another currency than the account's stay out: their cost has left the cash for good, and comes back with
the sale, converted by the venue.

Cash, executions, fees and positions travel by different roads, and who compares them too early finds money missing that
is only late. So cash is compared with what it should be by all that was told of it:

    expected = the cash of before - signed quantity x price of each execution since - each fee that was told since

* Cash is as expected: the wallet is told, unless a fee is missing. Who reads a wallet takes it to hold all of each
  execution that it was told of before, its fee included; so it waits for the fee, which cash may or may not contain.
* Cash is as it was before the last trades: it is late. The venue states cash every three minutes at the latest.
* Anything else stays unexplained for a while, in which everything is asked for once. It is the truth then: a deposit,
  a dividend, or a position that was paid for and whose executions the venue does not tell.

A position that moves while no cash does is not in the wallet: shares that somebody booked in or out were neither bought
nor sold. Comparing positions is another's work.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import identifiers
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.ibkr.core import executions
from kestrel_venue_gateway.ibkr.core.heard import ExecutionSeen, PositionSeen

_AMOUNT_SCALE = 4
_NOTHING = Fraction(0)
_CENT = Fraction(1, 100)
_ASK_NS = 2 * SECOND_NS
_UNEXPLAINED_NS = 10 * SECOND_NS
_LATE_CASH_NS = 240 * SECOND_NS
"""Cash is stated every 180 s at the latest."""
_FEE_NS = 600 * SECOND_NS
"""By then a fee has been missed aloud (FEE_OVERDUE), and asked for six times."""
_OPENING_FEE_NS = 60 * SECOND_NS
"""How long the first wallet waits for fees: nobody can tell whether the cash of then contains them."""
_FEE_ALLOWANCE = Fraction(2)
_FEE_ALLOWANCE_OF_NOTIONAL = Fraction(1, 100)
"""What the fee of one execution may come to that the venue has not said yet."""


@dataclass(slots=True)
class Holding:
    """What is held of one contract. ``cost`` is signed like ``qty``, and contains no commission unless estimated."""

    qty: Fraction = _NOTHING
    cost: Fraction = _NOTHING
    is_estimated: bool = False

    def trade(self, qty: Fraction, price: Fraction) -> None:
        """Average cost: what is added is added at its price, what is taken is taken at the average."""
        if self.qty and (self.qty > 0) != (qty > 0):
            taken = min(abs(qty), abs(self.qty)) * (1 if qty > 0 else -1)
            self.cost += self.cost / self.qty * taken
            self.qty += taken
            qty -= taken
            self.is_estimated = self.is_estimated and bool(self.qty)
        self.qty += qty
        self.cost += qty * price


_Whose = tuple[int, bool]
"""A contract, and whether it is held by orders of ours: the venue nets what our ledger and a stranger keep apart."""


@dataclass(frozen=True, slots=True)
class _Lot:
    """One execution at its highest revision."""

    execution_id: str
    con_id: int
    qty: Fraction
    price: Fraction  # of one contract, the multiplier in it
    revision: int
    is_ours: bool
    heard_ns: int
    executed_ns: int

    @property
    def whose(self) -> _Whose:
        return self.con_id, self.is_ours

    @property
    def notional(self) -> Fraction:
        return self.qty * self.price

    @property
    def fee_max(self) -> Fraction:
        return _FEE_ALLOWANCE + abs(self.notional) * _FEE_ALLOWANCE_OF_NOTIONAL


@dataclass(slots=True)
class _Book:
    """One contract, of ours or of others: what is held, which is ``base`` and then the executions of ``stems``."""

    base: Holding = field(default_factory=Holding)
    stems: dict[str, None] = field(default_factory=dict)
    holding: Holding = field(default_factory=Holding)


@dataclass(slots=True)
class Wallet:
    """The fold. ``balance`` gives a frame when there is one to tell."""

    account: str
    currency: str = ""
    _cash: Fraction | None = None
    # What the cash should be by all that was told; None until the first wallet was told.
    _expected: Fraction | None = None
    # What it should have been before each execution since it last was: who equals one of them is late.
    _expected_before: list[Fraction] = field(default_factory=list)
    _available: Fraction | None = None
    _is_ready: bool = True
    _books: dict[_Whose, _Book] = field(default_factory=dict)
    _lots: dict[str, _Lot] = field(default_factory=dict)
    _fees: dict[str, Fraction] = field(default_factory=dict)
    _fees_missing: dict[str, _Lot] = field(default_factory=dict)
    _fees_given_up: set[str] = field(default_factory=set)
    _to_estimate: set[int] = field(default_factory=set)
    _positions: dict[int, PositionSeen] = field(default_factory=dict)
    _multipliers: dict[int, Fraction] = field(default_factory=dict)
    _asked_ns: int | None = None
    # What was held when everything was asked, and executed since: a position that differs was moved by others.
    _held_when_asked: dict[int, Fraction] = field(default_factory=dict)
    _executed_since: dict[int, Fraction] = field(default_factory=dict)
    _moved_since_ns: int | None = None
    _last_execution_ns: int = 0
    _unexplained_since_ns: int | None = None
    _last_told: tuple[Fraction, Fraction | None] | None = None
    _is_told: bool = False

    # --- learning ----------------------------------------------------------------------------------------------

    def learn_value(self, key: str, value: str, currency: str) -> None:
        """An account value: of interest are the cash and what is available, in the account's own currency.

        While the venue's servers are reset it says that the account is not ready, and that it holds nothing.
        """
        if key == "AccountReady":
            self._is_ready = value != "false"
        if not self._is_ready or currency in ("", "BASE") or key not in ("TotalCashValue", "AvailableFunds"):
            return
        try:
            number = Fraction(value)
        except (ValueError, ZeroDivisionError):
            return
        if key == "AvailableFunds":
            self._available = number
            return
        self.currency = currency
        if number != self._cash:  # what was asked about the figure of before says nothing of this one
            self._cash, self._is_told, self._unexplained_since_ns = number, False, None

    def learn_position(self, position: PositionSeen) -> None:
        """A position as the venue has it. It decides nothing while the cash is explained."""
        if position.qty:
            self._positions[position.con_id] = position
        else:
            self._positions.pop(position.con_id, None)
        self._multipliers[position.con_id] = _fraction(position.multiplier)

    def learn_execution(self, execution: ExecutionSeen, *, now_ns: int, is_new: bool = True) -> None:
        """An execution, ours or not, heard for the first time or again. A higher revision replaces it.

        ``is_new``: it happened just now, and not some time ago.
        """
        stem, revision = executions.split(execution.execution_id)
        before = self._lots.get(stem)
        if before is not None and before.revision >= revision:
            return
        executed_ns = min(execution.time_ns or now_ns, now_ns)
        lot = _Lot(
            execution.execution_id,
            execution.con_id,
            _signed(execution),
            _fraction(execution.price) * self._multiplier(execution.con_id),
            revision,
            execution.order_ref.startswith(identifiers.CLIENT_ORDER_ID_PREFIX),
            now_ns,
            executed_ns,
        )
        self._lots[stem], self._is_told = lot, False
        self._last_execution_ns = max(self._last_execution_ns, now_ns if is_new else executed_ns)
        if is_new:
            change = lot.qty - (before.qty if before is not None else 0)
            self._executed_since[lot.con_id] = self._executed_since.get(lot.con_id, _NOTHING) + change
        if self._expected is None:
            return  # counted with the rest when the first wallet is told
        self._expected_before.append(self._expected)
        self._expected -= lot.notional
        if before is None:
            book = self._books.setdefault(lot.whose, _Book())
            book.stems[stem] = None
            book.holding.trade(lot.qty, lot.price)
        else:
            self._expected += before.notional + self._fees.pop(before.execution_id, _NOTHING)
            self._restate(stem, lot)
        self._fees_missing.pop(stem, None)
        self._fees_given_up.discard(stem)
        if lot.execution_id in self._fees:
            self._expected -= self._fees[lot.execution_id]
        elif lot.qty:
            self._fees_missing[stem] = lot

    def learn_fee(self, execution_id: str, fee: Number) -> None:
        """What the venue took for an execution, which may be heard of later. Another figure replaces it."""
        stem, _ = executions.split(execution_id)
        before, self._fees[execution_id] = self._fees.get(execution_id, _NOTHING), _fraction(fee)
        lot = self._lots.get(stem)
        if lot is None or lot.execution_id != execution_id:
            return
        if stem in self._fees_given_up:
            return  # a wallet was told that holds the execution, and with it whatever it cost
        self._fees_missing.pop(stem, None)
        self._is_told = False
        if self._expected is not None:
            self._expected -= self._fees[execution_id] - before

    def begin(
        self,
        positions: Iterable[PositionSeen],
        executed: Iterable[ExecutionSeen],
        *,
        now_ns: int,
        begun_ns: int | None = None,
    ) -> None:
        """Everything was asked, from ``begun_ns`` on: positions, and what was executed that the venue still tells."""
        self._positions = {position.con_id: position for position in positions if position.qty}
        for position in self._positions.values():
            self._multipliers[position.con_id] = _fraction(position.multiplier)
        self._asked_ns = now_ns if begun_ns is None else begun_ns
        self._held_when_asked = {con_id: _fraction(position.qty) for con_id, position in self._positions.items()}
        self._executed_since, self._moved_since_ns = {}, None
        still_told = set()
        for execution in executed:
            still_told.add(executions.split(execution.execution_id)[0])
            self.learn_execution(execution, now_ns=now_ns, is_new=False)
        self._forget_all_but(still_told)

    # --- telling -----------------------------------------------------------------------------------------------

    def balance(self, *, now_ns: int) -> venue_pb2.Balance | None:
        """The account, when cash, executions and fees fit together, and anything is new."""
        if self._cash is None or self._asked_ns is None or not self._is_estimated(now_ns):
            return None
        self._give_up_fees(now_ns)
        if self._expected is None:
            if not self._may_open(now_ns):
                return None
            self._open()
        elif not self._is_explained(self._cash, self._expected):
            if not self._has_waited(now_ns):
                return None
            self._take_for_true(self._cash, self._cash - self._expected)
        elif self._fees_missing:
            return None
        self._settle()
        return self._frame(self._cash)

    def wants_asking(self, *, now_ns: int) -> bool:
        """Cash or a position is not what it should be, and it was not asked since why.

        What others execute, by hand or under another client id, is told on asking only.
        """
        if not self._has_been_moved():
            self._moved_since_ns = None
        elif self._moved_since_ns is None:
            self._moved_since_ns = now_ns
        since = [ns for ns in (self._unexplained_since_ns, self._moved_since_ns) if ns is not None]
        return any(now_ns - ns >= _ASK_NS and (self._asked_ns or 0) < ns for ns in since)

    def tell_again(self) -> None:
        """A new connection's listener has heard nothing yet: the next balance is told even if it is the old one."""
        self._last_told = None

    @property
    def is_told(self) -> bool:
        """Whether the last frame is the wallet of now: nothing was executed, charged or moved since."""
        return self._is_told

    def average_price(self, con_id: int) -> Number | None:
        """What a position was traded at on average, without commissions; ``None`` where only the venue's is known."""
        holding = self._holding(con_id, True)
        if not holding.qty or holding.is_estimated or self._moved(con_id) or self._holding(con_id, False).qty:
            return None
        return _number(holding.cost / holding.qty / self._multiplier(con_id), 8)

    # --- the first wallet --------------------------------------------------------------------------------------

    def _may_open(self, now_ns: int) -> bool:
        """Not shortly after a trade: cash and positions may be from before it, and nothing would show it."""
        if now_ns - self._last_execution_ns <= _UNEXPLAINED_NS:
            return False
        missing = (lot for lot in self._lots.values() if lot.is_ours and lot.qty and lot.execution_id not in self._fees)
        return all(now_ns - lot.heard_ns > _OPENING_FEE_NS for lot in missing)

    def _open(self) -> None:
        """What is held is what the executions add up to where that is the venue's position, else its own average."""
        ordered = sorted(self._lots.items(), key=lambda entry: entry[1].executed_ns)
        for stem, lot in ordered:
            book = self._books.setdefault(lot.whose, _Book())
            book.stems[stem] = None
            book.holding.trade(lot.qty, lot.price)
        for con_id in self._contracts():
            if self._moved(con_id):
                self._estimate(con_id)
        self._fees_given_up |= {stem for stem, lot in ordered if lot.execution_id not in self._fees}
        self._expected = self._cash

    def _estimate(self, con_id: int) -> None:
        position = self._positions.get(con_id)
        qty = _fraction(position.qty) if position is not None else _NOTHING
        cost = qty * _fraction(position.average_cost) if position is not None else _NOTHING
        base = Holding(qty, cost, is_estimated=bool(qty))
        self._books.pop((con_id, False), None)
        self._books[con_id, True] = _Book(base, {}, replace(base))

    # --- cash --------------------------------------------------------------------------------------------------

    def _is_explained(self, cash: Fraction, expected: Fraction) -> bool:
        fees_max = sum((lot.fee_max for lot in self._fees_missing.values()), start=_NOTHING)
        is_explained = -fees_max - _CENT <= cash - expected <= _CENT
        if is_explained:
            self._unexplained_since_ns = None
        return is_explained

    def _has_waited(self, now_ns: int) -> bool:
        """Whether what is unexplained was so for long enough, and everything was asked meanwhile."""
        if self._unexplained_since_ns is None:
            self._unexplained_since_ns = now_ns
        if self._asked_ns is None or self._asked_ns < self._unexplained_since_ns:
            return False
        patience_ns = _LATE_CASH_NS if self._is_late() else _UNEXPLAINED_NS
        return now_ns - max(self._unexplained_since_ns, self._last_execution_ns) > patience_ns

    def _is_late(self) -> bool:
        """Whether cash is what it should have been before one of the last executions."""
        cash = self._cash or _NOTHING
        fees = sum((lot.fee_max for lot in self._lots.values() if self._is_recent(lot)), start=_CENT)
        return any(abs(cash - before) <= fees for before in self._expected_before)

    def _is_recent(self, lot: _Lot) -> bool:
        return lot.heard_ns >= self._last_execution_ns - _UNEXPLAINED_NS

    def _take_for_true(self, cash: Fraction, surplus: Fraction) -> None:
        """Cash is what the venue says. Positions that were paid with what nothing else explains are paid for."""
        self._fees_given_up |= self._fees_missing.keys()
        self._unexplained_since_ns, self._fees_missing = None, {}
        moved = {con_id: self._moved(con_id) for con_id in self._contracts()}
        worth = sum((qty * self._price_about(con_id) for con_id, qty in moved.items()), start=_NOTHING)
        if worth and Fraction(1, 2) <= -surplus / worth <= 2:
            for con_id, qty in moved.items():
                if qty:
                    price = self._price_about(con_id) * -surplus / worth
                    book = self._books.setdefault((con_id, False), _Book())
                    book.base.trade(qty, price)
                    book.holding.trade(qty, price)
        self._expected = cash

    def _settle(self) -> None:
        """All that was told is in the cash, and what cents differ are forgotten."""
        self._expected, self._is_told = self._cash, True
        self._expected_before.clear()

    def _frame(self, cash: Fraction) -> venue_pb2.Balance | None:
        costs = (book.holding.cost for (con_id, _), book in self._books.items() if self._counts(con_id))
        wallet = cash + sum(costs, start=_NOTHING)
        if self._last_told == (wallet, self._available):
            return None
        self._last_told = (wallet, self._available)
        message = venue_pb2.Balance(wallet=_amount(wallet), currency=self.currency)
        if self._available is not None:
            message.available.CopyFrom(_amount(self._available))
        return message

    def _give_up_fees(self, now_ns: int) -> None:
        """Ours that are not told in ten minutes are missed aloud, elsewhere; a stranger's is waited for briefly."""
        for stem, lot in list(self._fees_missing.items()):
            if now_ns - lot.heard_ns > (_FEE_NS if lot.is_ours else _UNEXPLAINED_NS):
                del self._fees_missing[stem]
                self._fees_given_up.add(stem)

    # --- how ---------------------------------------------------------------------------------------------------

    def _restate(self, stem: str, lot: _Lot) -> None:
        """An execution was taken back or restated: what is held is folded anew from where its executions begin."""
        book = self._books.setdefault(lot.whose, _Book())
        if stem not in book.stems:
            self._to_estimate.add(lot.con_id)
            return
        book.holding = replace(book.base)
        for each in book.stems:
            book.holding.trade(self._lots[each].qty, self._lots[each].price)

    def _is_estimated(self, now_ns: int) -> bool:
        """Where an execution was restated that is in no fold, the venue's average counts, once it contains it."""
        if self._to_estimate and now_ns - self._last_execution_ns <= _UNEXPLAINED_NS:
            return False
        while self._to_estimate:
            self._estimate(self._to_estimate.pop())
        return True

    def _forget_all_but(self, still_told: set[str]) -> None:
        """What the venue does not tell any more is not restated any more, and not told again."""
        for book in self._books.values():
            for stem in [each for each in book.stems if each not in still_told]:
                del book.stems[stem]
                book.base.trade(self._lots[stem].qty, self._lots[stem].price)
        kept = still_told | set(self._fees_missing)
        self._fees_given_up &= kept
        self._lots = {stem: lot for stem, lot in self._lots.items() if stem in kept}
        self._fees = {each: fee for each, fee in self._fees.items() if executions.split(each)[0] in kept}
        self._books = {
            whose: book for whose, book in self._books.items() if book.holding.qty or book.stems or book.base.qty
        }

    def _contracts(self) -> set[int]:
        return set(self._positions) | {con_id for con_id, _ in self._books}

    def _holding(self, con_id: int, is_ours: bool) -> Holding:
        book = self._books.get((con_id, is_ours))
        return book.holding if book is not None else Holding()

    def _moved(self, con_id: int) -> Fraction:
        """How much more the venue says is held than the executions add up to."""
        return self._now_held(con_id) - self._holding(con_id, True).qty - self._holding(con_id, False).qty

    def _has_been_moved(self) -> bool:
        contracts = set(self._positions) | set(self._held_when_asked)
        return self._asked_ns is not None and any(self._now_held(each) != self._should_hold(each) for each in contracts)

    def _now_held(self, con_id: int) -> Fraction:
        position = self._positions.get(con_id)
        return _fraction(position.qty) if position is not None else _NOTHING

    def _should_hold(self, con_id: int) -> Fraction:
        return self._held_when_asked.get(con_id, _NOTHING) + self._executed_since.get(con_id, _NOTHING)

    def _price_about(self, con_id: int) -> Fraction:
        position = self._positions.get(con_id)
        if position is not None:
            return _fraction(position.average_cost)
        holding = self._holding(con_id, True)
        return holding.cost / holding.qty if holding.qty else _NOTHING

    def _counts(self, con_id: int) -> bool:
        position = self._positions.get(con_id)
        return position is None or not position.currency or position.currency == self.currency

    def _multiplier(self, con_id: int) -> Fraction:
        return self._multipliers.get(con_id) or Fraction(1)


def _signed(execution: ExecutionSeen) -> Fraction:
    qty = _fraction(execution.qty)
    return -qty if execution.side == common_pb2.SIDE_SELL else qty


def _fraction(number: Number) -> Fraction:
    return Fraction(number.units, 10**number.scale)


def _amount(value: Fraction) -> common_pb2.Decimal:
    return _number(value, _AMOUNT_SCALE).message()


def _number(value: Fraction, scale: int) -> Number:
    """Rounded down: a figure of the wallet is never told higher than it is."""
    return Number(value.numerator * 10**scale // value.denominator, scale)
