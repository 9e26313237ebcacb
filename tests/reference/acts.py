"""What is done to two accounts, and how it reads."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tests.reference.inputs import Input
from tests.reference.words import Fact, InputKind, Liquidity, OrderType, Side, TimeInForce


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that is done to one of the two accounts: an input, or a restart."""

    account: int
    value: Input | None


_ENUMS = {
    "order_fact": Fact,
    "side": Side,
    "order_type": OrderType,
    "time_in_force": TimeInForce,
    "liquidity": Liquidity,
}


def tell_act(act: Act) -> str:
    """One line; only what is not empty."""
    if act.value is None:
        return f"account {act.account}  restart"
    parts = []
    for one in fields(Input)[1:]:
        value = getattr(act.value, one.name)
        if value not in (0, b"", (0,) * 8):
            parts.append(f"{one.name}={_tell(one.name, value)}")
    return f"account {act.account}  {InputKind(act.value.kind).name} {' '.join(parts)}"


def _tell(name: str, value: object) -> str:
    enum = _ENUMS.get(name)
    if enum is not None and isinstance(value, int) and value in enum.__members__.values():
        return str(enum(value).name)
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
