"""The wallet of an account whose venue states cash.

The kernel's wallet moves by realized profit, fees and funding. Here cash moves by the whole notional of each trade:

    wallet = TotalCashValue + sum over open positions of (signed quantity x multiplier x average trade price)

The average trade price comes from executions, without commissions, so opening a position moves the wallet by its
commission only, and closing it by the profit as well. It is exact for every position that was flat when the
executions begin that the venue still tells, at midnight, or when this process began. A position from before has its
cost from the venue's average, which contains the commissions paid for it: the wallet is higher by these until then.

Positions in another currency than the account's stay out: their cost has left the cash for good, and comes back with
the sale, converted by the venue.

Cash and executions travel by different roads. A cash figure from before a trade that we have heard of would look like a
loss of its notional; so a figure that our own executions do not explain is held back until it has stood unexplained for
a while, and is the truth then: a deposit, a dividend, somebody else's trade.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.ibkr.core.heard import ExecutionSeen, PositionSeen

_AMOUNT_SCALE = 4
_UNEXPLAINED_NS = 10 * SECOND_NS
_FEE_ALLOWANCE = Fraction(2)
_FEE_ALLOWANCE_OF_NOTIONAL = Fraction(1, 100)
"""What the fees of executions may come to that the venue has not said yet."""


@dataclass(slots=True)
class Holding:
    """What is held of one contract. ``cost`` is signed like ``qty``, and contains no commission unless estimated."""

    qty: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)
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


@dataclass(slots=True)
class Wallet:
    """The fold. ``balance`` gives a frame when there is one to tell."""

    account: str
    currency: str = ""
    _cash: Fraction | None = None
    _cash_told: Fraction | None = None
    _available: Fraction | None = None
    _holdings: dict[int, Holding] = field(default_factory=dict)
    _positions: dict[int, PositionSeen] = field(default_factory=dict)
    _multipliers: dict[int, Fraction] = field(default_factory=dict)
    # Since the last frame: what our executions did to the cash, their fees as far as they are known, and the rest.
    _flow: Fraction = Fraction(0)
    _fees_unknown: dict[str, Fraction] = field(default_factory=dict)
    _last_execution_ns: int = 0
    _unexplained_since_ns: int | None = None
    _last_told: tuple[Fraction, Fraction | None] | None = None

    def learn_value(self, key: str, value: str, currency: str) -> None:
        """An account value: of interest are the cash and what is available, in the account's own currency."""
        if currency in ("", "BASE") or key not in ("TotalCashValue", "AvailableFunds"):
            return
        try:
            number = Fraction(value)
        except (ValueError, ZeroDivisionError):
            return
        if key == "AvailableFunds":
            self._available = number
            return
        self.currency = currency
        self._cash = number

    def learn_position(self, position: PositionSeen) -> None:
        """A position as the venue has it. It decides nothing while it agrees with the executions."""
        if position.qty:
            self._positions[position.con_id] = position
        else:
            self._positions.pop(position.con_id, None)
        self._multipliers[position.con_id] = _fraction(position.multiplier)

    def learn_execution(self, execution: ExecutionSeen, *, now_ns: int, moves_holding: bool = True) -> None:
        """An execution that was not heard before, ours or not.

        ``moves_holding`` is false while everything is being asked: ``begin`` is told of it then.
        """
        qty, price = _signed(execution), _fraction(execution.price) * self._multiplier(execution.con_id)
        if moves_holding:
            self._holdings.setdefault(execution.con_id, Holding()).trade(qty, price)
        self._flow -= qty * price
        self._fees_unknown[execution.execution_id] = abs(qty * price)
        self._last_execution_ns = now_ns

    def learn_fee(self, execution_id: str, fee: Number) -> None:
        if self._fees_unknown.pop(execution_id, None) is not None:
            self._flow -= _fraction(fee)

    def learn_restatement(self, con_id: int, *, now_ns: int) -> None:
        """An execution was taken back or restated: what is held is only what the venue says, from here on."""
        self._holdings.pop(con_id, None)
        self._last_execution_ns = now_ns

    def begin(self, positions: Iterable[PositionSeen], executed: Sequence[ExecutionSeen], *, now_ns: int) -> None:
        """Everything was asked: the positions, and what was executed that the venue still tells, oldest first.

        What was known before and agrees with the positions stays.
        """
        self._positions = {position.con_id: position for position in positions if position.qty}
        for position in self._positions.values():
            self._multipliers[position.con_id] = _fraction(position.multiplier)
        folded: dict[int, Holding] = {}
        for execution in executed:
            holding = folded.setdefault(execution.con_id, Holding())
            holding.trade(_signed(execution), _fraction(execution.price) * self._multiplier(execution.con_id))
        for con_id in set(self._positions) | set(self._holdings) | set(folded):
            self._agree(con_id, folded.get(con_id))
        newest_ns = max((execution.time_ns or now_ns for execution in executed), default=0)
        self._last_execution_ns = max(self._last_execution_ns, min(newest_ns, now_ns))

    def balance(self, *, now_ns: int) -> venue_pb2.Balance | None:
        """The account, when cash, positions and executions fit together, and anything is new."""
        if self._cash is None or not self._positions_agree(now_ns) or not self._cash_is_explained(now_ns):
            return None
        if self._awaits_a_fee(now_ns):
            return None
        self._cash_told, self._flow, self._fees_unknown = self._cash, Fraction(0), {}
        wallet = self._cash + sum((h.cost for c, h in self._holdings.items() if self._counts(c)), start=Fraction(0))
        if self._last_told == (wallet, self._available):
            return None
        self._last_told = (wallet, self._available)
        message = venue_pb2.Balance(wallet=_amount(wallet), currency=self.currency)
        if self._available is not None:
            message.available.CopyFrom(_amount(self._available))
        return message

    def tell_again(self) -> None:
        """A new connection's listener has heard nothing yet: the next balance is told even if it is the old one."""
        self._last_told = None

    @property
    def is_told(self) -> bool:
        """Whether the last frame is the wallet of now: nothing was executed, charged or moved since."""
        return self._cash is not None and self._cash == self._cash_told and not self._flow and not self._fees_unknown

    def average_price(self, con_id: int) -> Number | None:
        """What a position was traded at on average, without commissions; ``None`` where only the venue's is known."""
        holding = self._holdings.get(con_id)
        if holding is None or not holding.qty or holding.is_estimated:
            return None
        return _number(holding.cost / holding.qty / self._multiplier(con_id), 8)

    # --- how ---------------------------------------------------------------------------------------------------

    def _agree(self, con_id: int, folded: Holding | None) -> None:
        """Take what fits the venue's position: what we knew, else what the executions add up to, else its average."""
        position = self._positions.get(con_id)
        qty = _fraction(position.qty) if position is not None else Fraction(0)
        for holding in (self._holdings.get(con_id), folded):
            if holding is not None and holding.qty == qty:
                self._holdings[con_id] = holding
                return
        self._holdings.pop(con_id, None)
        if position is not None:
            self._holdings[con_id] = Holding(qty, qty * _fraction(position.average_cost), is_estimated=True)

    def _positions_agree(self, now_ns: int) -> bool:
        """A position that differs from the executions for a while is right: somebody moved it behind our back."""
        is_settled = now_ns - self._last_execution_ns > _UNEXPLAINED_NS
        for con_id in set(self._positions) | set(self._holdings):
            position, holding = self._positions.get(con_id), self._holdings.get(con_id, Holding())
            qty = _fraction(position.qty) if position is not None else Fraction(0)
            if qty == holding.qty:
                continue
            if not is_settled:
                return False
            self._agree(con_id, None)
        self._holdings = {con_id: holding for con_id, holding in self._holdings.items() if holding.qty}
        return True

    def _cash_is_explained(self, now_ns: int) -> bool:
        if self._cash is None or self._cash_told is None:
            return now_ns - self._last_execution_ns > _UNEXPLAINED_NS
        unknown = sum(self._fees_unknown.values(), start=Fraction(0))
        allowance = _FEE_ALLOWANCE * len(self._fees_unknown) + unknown * _FEE_ALLOWANCE_OF_NOTIONAL
        difference = abs(self._cash - self._cash_told - self._flow)
        if difference <= max(allowance, Fraction(1, 100)):
            self._unexplained_since_ns = None
            return True
        if self._unexplained_since_ns is None:
            self._unexplained_since_ns = now_ns
        since_ns = max(self._unexplained_since_ns, self._last_execution_ns)
        if now_ns - since_ns <= _UNEXPLAINED_NS:
            return False
        self._unexplained_since_ns = None
        return True

    def _awaits_a_fee(self, now_ns: int) -> bool:
        """Cash contains a fee at once, and the venue tells it a moment later: until then the kernel, which books what
        it is told, would find the fee missing. A fee that never comes holds nothing back for long.
        """
        return bool(self._fees_unknown) and now_ns - self._last_execution_ns <= _UNEXPLAINED_NS

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
