"""Takes the messages from the library where its decoder hands them over, before the library's own guesses.

The methods of the wrapper are replaced on the instance, before it connects. What is replaced is not passed on: the
library keeps no second book of orders, so there is none that could differ from ours, and none that grows.

An exception in a listener would be swallowed by the library, or only logged; here it reaches the session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import KestrelError
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.ibkr.core import heard
from kestrel_venue_gateway.ibkr.core.contracts import ContractSeen, symbol_of
from kestrel_venue_gateway.ibkr.core.exact import approximate, exact, exact_or_none, time_ns

_FEE_NOT_KNOWN = Number(-1, 0)


class Listener(Protocol):
    """What a session hears. Called in the order in which the messages arrived."""

    def on_bytes(self, data: bytes) -> None:
        """Raw bytes, behind the messages in them."""

    def on_message(self, message: heard.OrderMessage) -> None:
        """Something about an order, or an error."""

    def on_position(self, position: heard.PositionSeen) -> None:
        """A position, asked for or changed."""

    def on_account_value(self, value: heard.AccountValueSeen) -> None:
        """A figure of the account."""

    def on_contract(self, request_id: int, contract: ContractSeen) -> None:
        """One contract that fits a question."""

    def on_tick(self, request_id: int, tick_type: int, price: Number | None, size: Number | None) -> None:
        """A price or a size of the market."""

    def on_end(self, question: str, request_id: int) -> None:
        """The venue has answered a question to its end."""

    def on_unreadable(self, reason: str) -> None:
        """A message could not be understood."""

    def on_broken(self, reason: str) -> None:
        """The connection is gone."""


class Tap:
    """Our handlers in the place of a wrapper's own."""

    def __init__(self, wrapper: Any, listener: Listener) -> None:
        self._listener: Listener | None = listener
        # The text of the time of the execution that is being decoded.
        self.execution_time = ""
        for name, handler in {
            "openOrder": self._open_order,
            "orderStatus": self._order_status,
            "execDetails": self._execution,
            "commissionReport": self._commission,
            "completedOrder": self._completed_order,
            "error": self._error,
            "position": self._position,
            "updateAccountValue": self._account_value,
            "contractDetails": self._contract,
            "priceSizeTick": self._price,
            "tickSize": self._size,
            "openOrderEnd": self._end("open_orders"),
            "completedOrdersEnd": self._end("completed_orders"),
            "execDetailsEnd": self._end("executions"),
            "positionEnd": self._end("positions"),
            "accountDownloadEnd": self._end("account"),
            "contractDetailsEnd": self._end("contract"),
            "currentTime": self._end("time"),
            # Nothing of ours reads these; the library would keep them, or act on them.
            "updatePortfolio": _ignore,
            "accountUpdateMulti": _ignore,
            "accountSummary": _ignore,
            "tickString": _ignore,
            "tickGeneric": _ignore,
            "tickReqParams": _ignore,
            "marketDataType": _ignore,
        }.items():
            setattr(wrapper, name, handler)

    def detach(self) -> None:
        """Say nothing from here on."""
        self._listener = None

    # --- messages ----------------------------------------------------------------------------------------------

    def _open_order(self, order_id: int, contract: Any, order: Any, state: Any) -> None:
        self._tell(
            lambda listener: listener.on_message(
                heard.OrderSeen(
                    order_id=int(order_id),
                    client_id=int(order.clientId),
                    perm_id=int(order.permId),
                    order_ref=order.orderRef,
                    account=order.account,
                    symbol=_symbol(contract),
                    side=_side(order.action),
                    order_qty=exact(order.totalQuantity, "totalQuantity"),
                    status=state.status,
                    is_preview=bool(order.whatIf),
                    warning=state.warningText or "",
                )
            )
        )

    def _order_status(
        self,
        order_id: int,
        status: str,
        filled: float,
        remaining: float,
        average_price: float,
        perm_id: int,
        parent_id: int,
        last_price: float,
        client_id: int,
        why_held: str,
        *_: Any,
    ) -> None:
        self._tell(
            lambda listener: listener.on_message(
                heard.StatusSeen(order_id, client_id, perm_id, status, exact(filled, "filled"), why_held)
            )
        )

    def _execution(self, request_id: int, contract: Any, execution: Any) -> None:
        self._tell(
            lambda listener: listener.on_message(
                heard.ExecutionSeen(
                    execution_id=execution.execId,
                    order_id=int(execution.orderId),
                    client_id=int(execution.clientId),
                    perm_id=int(execution.permId),
                    order_ref=execution.orderRef,
                    account=execution.acctNumber,
                    symbol=_symbol(contract),
                    sec_type=contract.secType,
                    side=_side(execution.side),
                    qty=exact(execution.shares, "shares"),
                    price=exact(execution.price, "price"),
                    time_ns=time_ns(self.execution_time),
                    liquidity=int(execution.lastLiquidity),
                    con_id=int(contract.conId),
                    currency=contract.currency,
                )
            )
        )

    def _commission(self, report: Any) -> None:
        def tell(listener: Listener) -> None:
            fee = exact_or_none(report.commission, "commission")
            fee = None if fee == _FEE_NOT_KNOWN else fee
            listener.on_message(heard.CommissionSeen(report.execId, fee, report.currency))

        self._tell(tell)

    def _completed_order(self, contract: Any, order: Any, state: Any) -> None:
        self._tell(
            lambda listener: listener.on_message(
                heard.CompletedSeen(
                    perm_id=int(order.permId),
                    order_ref=order.orderRef,
                    account=order.account,
                    symbol=_symbol(contract),
                    side=_side(order.action),
                    order_qty=exact(order.totalQuantity, "totalQuantity"),
                    status=state.status,
                    filled=exact_or_none(order.filledQuantity, "filledQuantity") or Number(0, 0),
                    explanation=state.completedStatus or "",
                )
            )
        )

    def _error(self, request_id: int, code: int, text: str, *_: Any) -> None:
        self._tell(lambda listener: listener.on_message(heard.ErrorSeen(int(request_id), int(code), str(text))))

    def _position(self, account: str, contract: Any, qty: float, average_cost: float) -> None:
        self._tell(
            lambda listener: listener.on_position(
                heard.PositionSeen(
                    account=account,
                    con_id=int(contract.conId),
                    symbol=_symbol(contract),
                    currency=contract.currency,
                    multiplier=_multiplier(contract),
                    qty=exact(qty, "position"),
                    average_cost=approximate(average_cost, "avgCost"),
                )
            )
        )

    def _account_value(self, key: str, value: str, currency: str, account: str, *_: Any) -> None:
        self._tell(lambda listener: listener.on_account_value(heard.AccountValueSeen(account, key, value, currency)))

    def _contract(self, request_id: int, details: Any) -> None:
        contract = details.contract
        self._tell(
            lambda listener: listener.on_contract(
                int(request_id),
                ContractSeen(
                    con_id=int(contract.conId),
                    symbol=contract.symbol,
                    sec_type=contract.secType,
                    exchange=contract.exchange,
                    primary_exchange=contract.primaryExchange,
                    currency=contract.currency,
                    local_symbol=contract.localSymbol,
                    trading_class=contract.tradingClass,
                    tick=exact(details.minTick, "minTick"),
                    size_increment=exact_or_none(details.sizeIncrement, "sizeIncrement"),
                    multiplier=_multiplier(contract),
                    time_zone=details.timeZoneId or "",
                    trading_hours=details.tradingHours or "",
                    liquid_hours=details.liquidHours or "",
                ),
            )
        )

    def _price(self, request_id: int, tick_type: int, price: float, size: float) -> None:
        self._tell(
            lambda listener: listener.on_tick(
                request_id, tick_type, exact_or_none(price, "tick price"), exact_or_none(size, "tick size")
            )
        )

    def _size(self, request_id: int, tick_type: int, size: float) -> None:
        self._tell(lambda listener: listener.on_tick(request_id, tick_type, None, exact_or_none(size, "tick size")))

    def _end(self, question: str) -> Callable[..., None]:
        """An end marker. The number of its request is its first argument where the message has one."""
        is_numbered = question in ("executions", "contract")

        def ended(*values: Any) -> None:
            request_id = int(values[0]) if is_numbered else 0
            self._tell(lambda listener: listener.on_end(question, request_id))

        return ended

    def _tell(self, tell: Callable[[Listener], None]) -> None:
        listener = self._listener
        if listener is None:
            return
        try:
            tell(listener)
        except (KestrelError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
            listener.on_unreadable(f"{type(error).__name__}: {error}"[:500])


def _ignore(*_: Any) -> None:
    """Nothing of ours reads it."""


def _symbol(contract: Any) -> str:
    return symbol_of(contract.symbol, contract.secType, contract.localSymbol)


def _side(word: str) -> common_pb2.Side.ValueType:
    """Unspecified for a word that nobody knows: such a fill is parked with its reason, and not lost."""
    return heard.SIDES.get(word, common_pb2.SIDE_UNSPECIFIED)


def _multiplier(contract: Any) -> Number:
    """Empty for shares."""
    return exact(contract.multiplier, "multiplier") if contract.multiplier else Number(1, 0)
