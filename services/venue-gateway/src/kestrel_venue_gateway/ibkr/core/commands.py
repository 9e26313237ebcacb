"""Our commands as the venue's order fields. Nothing is left to a preset of the gateway: account, reference and time in
force are always set.

The kernel's commands carry one price. So a stop order takes it as its trigger, and a stop-limit order, which needs two,
cannot be expressed. The parts of a bracket know each other by their entry's order id, and by the name of their group.
"""

from __future__ import annotations

from dataclasses import dataclass

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number

_ACTIONS: dict[int, str] = {common_pb2.SIDE_BUY: "BUY", common_pb2.SIDE_SELL: "SELL"}
_TYPES: dict[int, str] = {
    common_pb2.ORDER_TYPE_MARKET: "MKT",
    common_pb2.ORDER_TYPE_LIMIT: "LMT",
    common_pb2.ORDER_TYPE_STOP: "STP",
    common_pb2.ORDER_TYPE_STOP_LIMIT: "STP LMT",
}
_TIMES_IN_FORCE: dict[int, str] = {
    common_pb2.TIME_IN_FORCE_DAY: "DAY",
    common_pb2.TIME_IN_FORCE_GTC: "GTC",
    common_pb2.TIME_IN_FORCE_IOC: "IOC",
    common_pb2.TIME_IN_FORCE_FOK: "FOK",
}


@dataclass(frozen=True, slots=True)
class OrderFields:
    """An order as the protocol writes it. Prices and quantities are texts: the libraries pass them on untouched."""

    action: str
    order_type: str
    total_quantity: str
    limit_price: str  # empty: not set
    stop_price: str
    time_in_force: str
    account: str
    order_ref: str
    # The orders that leave one trade: what one of them fills, the venue takes from the others. Empty: no group.
    group: str = ""
    # The order that this one protects; 0: none.
    parent_id: int = 0
    # False: the venue keeps it until the last one of its bracket is there, and takes none of them without that.
    is_last: bool = True


def order_fields(command: journal_pb2.VenueCommand) -> OrderFields:
    """Raises ``InvalidRequest`` for what this venue cannot be told: it certainly was not sent then."""
    order_type = _one_of("order_type", _TYPES, command.order_type)
    price = Number.of(command.price) if command.HasField("price") else None
    if command.order_type == common_pb2.ORDER_TYPE_STOP_LIMIT:
        raise InvalidRequest.of("order_type", order_type, "a command carries one price, and this needs two")
    needs_price = command.order_type != common_pb2.ORDER_TYPE_MARKET
    if needs_price and price is None:
        raise InvalidRequest.of("price", "", f"set, for {order_type}")
    text = str(price) if needs_price else ""
    is_limit = command.order_type == common_pb2.ORDER_TYPE_LIMIT
    return OrderFields(
        action=_one_of("side", _ACTIONS, command.side),
        order_type=order_type,
        total_quantity=str(Number.of(command.order_qty)),
        limit_price=text if is_limit else "",
        stop_price=text if not is_limit else "",
        time_in_force=_one_of("time_in_force", _TIMES_IN_FORCE, command.time_in_force),
        account=_text("account", command.account),
        order_ref=_text("client_order_id", command.client_order_id),
        group=_text("group", command.group) if command.group else "",
    )


def price_of(command: journal_pb2.VenueCommand) -> Number | None:
    """The price that has to lie on a tick, if the order has one."""
    is_market = command.order_type == common_pb2.ORDER_TYPE_MARKET
    return Number.of(command.price) if command.HasField("price") and not is_market else None


def _one_of(field: str, words: dict[int, str], value: int) -> str:
    word = words.get(value)
    if word is None:
        raise InvalidRequest.of(field, value, f"one of {', '.join(words.values())}")
    return word


def _text(field: str, value: str) -> str:
    """A zero byte or a line feed would shift every field behind it."""
    if not value or not value.isascii() or not value.isprintable():
        raise InvalidRequest.of(field, value, "printable ASCII, not empty")
    return value
