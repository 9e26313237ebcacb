"""What goes into a kernel: one class for each kind, packed into an ``lk_input_t`` the moment it is made.

Numbers are integer units: prices and quantities at the scales the input states, amounts at the account's
``amount_scale``. ``None`` means: not stated. An input that cannot be expressed (an id too long, a number that is no
integer or needs more than 64 bits) is an ``InvalidInput`` when it is made; nothing is cut.

How it is packed was measured, on a FILL with four texts, from Python values to bytes (processor time, one machine):

    a frozen dataclass, packed field by field when it is applied     6.3 us    what this package once did
    __init__ with keywords and one precompiled struct for the kind   1.5 us    chosen; 0.9 of it is the call itself
    the same, the texts joined and split again by C                  1.5 us
    the same, all values handed to a C function                      1.9 us    and two places that know the layout
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, ClassVar, dataclass_transform, get_args, get_type_hints

from kestrel_libkernel._ffi import lib
from kestrel_libkernel.bindings import ABI_VERSION, InvalidInput
from kestrel_libkernel.layout import Layout, places
from kestrel_libkernel.model import Config, Fact, InputKind, Instrument, Liquidity, OrderType, Side, TimeInForce

_FIELDS = places("lk_input_t")
_RENAMED = {
    "fact": "order_fact", "client_order_id_root": "client_order_id", "realized_pnl": "amount", "wallet": "amount",
    "version": "instrument_version",
}  # fmt: skip
"""Attributes that are clearer than the field which they share with other kinds."""

_INSTRUMENT = tuple(field.name for field in dataclasses.fields(Instrument))
_LEGS_MAX: int = lib.LK_EXIT_LEGS_MAX
_LEGS = struct.Struct(f"={_LEGS_MAX}H")
_FAULTS = (struct.error, ValueError, TypeError, AttributeError)


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _Packed:
    """Gives each subclass with a ``kind`` the constructor and the attributes that its annotations state."""

    __slots__ = ("packed",)

    packed: bytes
    """The ``lk_input_t``."""
    _layout: ClassVar[Layout]

    def __init_subclass__(cls, kind: InputKind = InputKind.NONE) -> None:
        dataclasses.dataclass(init=False, eq=False, kw_only=True)(cls)  # for repr(), fields() and replace()
        if kind:
            _Writer(cls, kind).equip()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Packed):
            return NotImplemented
        return self.packed == other.packed

    def __hash__(self) -> int:
        return hash(self.packed)


class _Writer:
    """Writes the constructor of one kind as source, and compiles it: as ``dataclasses`` does, because a loop over the
    fields at run time would cost more than all the rest."""

    def __init__(self, cls: Any, kind: InputKind) -> None:
        self.cls, self.kind = cls, kind
        fields = dataclasses.fields(cls)
        hints = get_type_hints(cls)
        self.hints = {field.name: hints[field.name] for field in fields}
        self.defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
        self.values: dict[str, str] = {"kind": str(int(kind)), "flags": "flags"}
        self.texts: dict[str, int] = {}
        self.flags = 0
        self.body: list[str] = []
        for name, hint in self.hints.items():
            self._add(name, name, hint)
        cls._layout = Layout.of("lk_input_t", self.values)

    def _add(self, name: str, value: str, hint: Any) -> None:
        """How one attribute gets into its field, or an instrument into its several."""
        if hint is Instrument:
            for part, part_hint in get_type_hints(Instrument).items():
                self._add(part, f"{value}.{part}", part_hint)
            return
        field = _RENAMED.get(name, name)
        if hint is bool:
            self.body.append(f"if {value}: flags |= {_bit(name)}")
        elif hint is str:
            self.texts[value] = _FIELDS[field].size
            self.values[field] = f"{value}.encode('ascii')"
        elif field == "exit_leg_bps":
            self.values[field] = f"_legs({value})"
        else:
            self.values[field] = value
            self._state(field, value, is_optional=NoneType in get_args(hint))

    def _state(self, field: str, value: str, *, is_optional: bool) -> None:
        """Say in ``flags`` that a number is stated, where the library has a flag for that."""
        flag = getattr(lib, f"LK_HAS_{field.upper().removesuffix('_PRICE')}", 0)
        if is_optional:
            self.body += [f"if {value} is None: {value} = 0", f"else: flags |= {flag}"]
        else:
            self.flags |= flag

    def equip(self) -> None:
        parameters = ", ".join(f"{name}=_{name}" if name in self.defaults else name for name in self.hints)
        too_long = " or ".join(f"len({value}) > {size}" for value, size in self.texts.items())
        texts = ", ".join(f"({value!r}, {value}, {size})" for value, size in self.texts.items())
        lines = [
            f"def __init__(self, *, {parameters}):",
            f" flags = {self.flags}",
            *(f" {line}" for line in self.body),
            " try:",
            f"  if {too_long}: raise ValueError",
            f"  self.packed = _pack({', '.join(self.values[name] for name in self.cls._layout.names)})",
            " except _FAULTS as error:",
            f"  raise _explained({self.kind.name!r}, error, [{texts}]) from None",
        ]
        names: dict[str, Any] = {f"_{name}": value for name, value in self.defaults.items()}
        names |= {"_pack": self.cls._layout.format.pack, "_FAULTS": _FAULTS, "_explained": _explained, "_legs": _legs}
        exec("\n".join(lines), names)  # noqa: S102 -- names and types of this module, nothing from outside
        self.cls.__init__ = names["__init__"]
        for name, hint in self.hints.items():
            setattr(self.cls, name, property(self._reader(name, hint)))

    def _reader(self, name: str, hint: Any) -> Callable[[Any], Any]:
        """Reads an attribute back out of the bytes."""
        if hint is Instrument:
            parts = [(part, self._reader(part, kind)) for part, kind in get_type_hints(Instrument).items()]
            return lambda self: Instrument(**{part: read(self) for part, read in parts})
        if hint is bool:
            bit, read = _bit(name), Layout.of("lk_input_t", ["flags"]).format.unpack
            return lambda self: bool(read(self.packed)[0] & bit)
        field = _RENAMED.get(name, name)
        place = Layout.of("lk_input_t", [field, "flags"]).names.index(field)
        unpack = Layout.of("lk_input_t", [field, "flags"]).format.unpack
        flag = getattr(lib, f"LK_HAS_{field.upper().removesuffix('_PRICE')}", 0)
        flags = 1 - place
        if hint is str:
            return lambda self: unpack(self.packed)[place].rstrip(b"\0").decode("ascii")
        if field == "exit_leg_bps":
            return lambda self: tuple(leg for leg in _LEGS.unpack(unpack(self.packed)[place]) if leg)
        if NoneType in get_args(hint):
            return lambda self: unpack(self.packed)[place] if unpack(self.packed)[flags] & flag else None
        return lambda self: hint(unpack(self.packed)[place])


def _bit(name: str) -> int:
    """The flag that a truth is."""
    bit: int = getattr(lib, f"LK_{name.upper()}")
    return bit


def _legs(legs: Sequence[int]) -> bytes:
    if len(legs) > _LEGS_MAX:
        raise InvalidInput(f"exit_leg_bps: at most {_LEGS_MAX}")
    return _LEGS.pack(*legs, *(0,) * (_LEGS_MAX - len(legs)))


def _explained(kind: str, error: Exception, texts: list[tuple[str, Any, int]]) -> InvalidInput:
    """What was wrong with an input that could not be packed."""
    if isinstance(error, InvalidInput):
        return error
    for name, value, size in texts:
        if not isinstance(value, str) or not value.isascii():
            return InvalidInput(f"{name} {value!r}: ASCII text only")
        if len(value) > size:
            return InvalidInput(f"{name} {value!r}: at most {size} characters")
    return InvalidInput(f"{kind}: {error}")


def config_bytes(config: Config) -> bytes:
    """The ``lk_config_t``."""
    values = {"abi_version": ABI_VERSION, **dataclasses.asdict(config)}
    layout = Layout.of("lk_config_t", values)
    texts = {name: _text(name, values[name], places("lk_config_t")[name].size) for name in ("account", "currency")}
    try:
        return layout.format.pack(*(texts.get(name, values[name]) for name in layout.names))
    except struct.error as error:
        raise InvalidInput(f"configuration: {error}") from None


def id_bytes(value: str, name: str) -> bytes:
    """An ``lk_id_t``."""
    return _text(name, value, lib.LK_ID_BYTES).ljust(lib.LK_ID_BYTES, b"\0")


def _text(name: str, value: str, size: int) -> bytes:
    if len(value) > size or not value.isascii():
        raise _explained("", ValueError(), [(name, value, size)])
    return value.encode("ascii")


class Prepared(_Packed):
    """An input of any kind that somebody else has packed; ``reading`` does."""

    __slots__ = ()

    def __init__(self, packed: bytes) -> None:
        self.packed = packed


# --- the kinds -------------------------------------------------------------------------------------------------------


class Input(_Packed):
    """What all inputs carry: the kernel's time, the input's sequence, and its idempotency key."""

    __slots__ = ()

    now_ns: int
    sequence: int = 0
    event_id: str = ""


class Enter(Input, kind=InputKind.ENTER):
    """Open a trade. Prices at the instrument's ``price_scale``, quantity at its ``qty_scale``. As a ``bracket``: stop
    and target are orders, placed at the venue with the entry."""

    __slots__ = ()

    trade_id: str
    client_order_id: str
    instrument: Instrument
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    qty: int
    price: int | None = None
    stop_price: int | None = None
    target_price: int | None = None
    reference_price: int | None = None
    leverage: int = 1
    expires_at_ns: int = 0
    strategy: str = ""
    exit_leg_bps: Sequence[int] = ()
    bracket: bool = False


class Exit(Input, kind=InputKind.EXIT):
    """Leave a trade. ``qty`` None: the next leg, or all that is left; ``client_order_id``: of the order to be sent."""

    __slots__ = ()

    trade_id: str
    client_order_id: str
    qty: int | None = None
    qty_scale: int = 0
    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.DAY
    price: int | None = None
    price_scale: int = 0


class Cancel(Input, kind=InputKind.CANCEL):
    """Cancel one order of ours."""

    __slots__ = ()

    client_order_id: str


class MarkPrice(Input, kind=InputKind.MARK_PRICE):
    """Value open positions of a symbol."""

    __slots__ = ()

    symbol: str
    price: int
    price_scale: int


class Tick(Input, kind=InputKind.TICK):
    """Time passed."""

    __slots__ = ()


class OrderReport(Input, kind=InputKind.ORDER):
    """Something that was learned about an order, but a fill."""

    __slots__ = ()

    fact: Fact
    client_order_id: str = ""
    venue_order_id: str = ""


class Fill(Input, kind=InputKind.FILL):
    """One execution. ``price`` None: the venue gave none; ``fee`` None: the venue has not said."""

    __slots__ = ()

    execution_id: str
    side: Side
    qty: int
    qty_scale: int
    price: int | None
    price_scale: int
    client_order_id: str = ""
    venue_order_id: str = ""
    symbol: str = ""
    fee: int | None = None
    liquidity: Liquidity = Liquidity.NONE


class Bust(Input, kind=InputKind.BUST):
    """The venue takes an execution back."""

    __slots__ = ()

    execution_id: str


class Correction(Input, kind=InputKind.CORRECTION):
    """The venue restates an execution."""

    __slots__ = ()

    execution_id: str
    qty: int
    qty_scale: int
    price: int | None
    price_scale: int
    fee: int | None = None
    liquidity: Liquidity = Liquidity.NONE
    """NONE: as it was told first."""


class Settlement(Input, kind=InputKind.SETTLEMENT):
    """The venue's own figures for an execution."""

    __slots__ = ()

    execution_id: str
    realized_pnl: int | None = None
    fee: int | None = None


class Balance(Input, kind=InputKind.BALANCE):
    """The account as the venue states it. ``execution_watermark`` 0: all executions before this frame are in it."""

    __slots__ = ()

    wallet: int
    available: int | None = None
    venue_sequence: int = 0
    execution_watermark: int = 0


class Funding(Input, kind=InputKind.FUNDING):
    """A funding payment: positive is received."""

    __slots__ = ()

    amount: int
    symbol: str = ""


class Flatten(Input, kind=InputKind.FLATTEN):
    """Leave everything, or what matches. The exit of slot 7 is sent as ``<client_order_id_root>-07``."""

    __slots__ = ()

    client_order_id_root: str
    strategy: str = ""
    symbol: str = ""


class CancelWorkingEntries(Input, kind=InputKind.CANCEL_WORKING_ENTRIES):
    """Cancel entries still at work, all or what matches."""

    __slots__ = ()

    strategy: str = ""
    symbol: str = ""


class FreezeEntries(Input, kind=InputKind.FREEZE):
    """No new entries until unfrozen."""

    __slots__ = ()


class UnfreezeEntries(Input, kind=InputKind.UNFREEZE):
    """Lifts an operator's freeze, never the ledger's own."""

    __slots__ = ()


class Adopt(Input, kind=InputKind.ADOPT):
    """Take a position that the venue holds into a slot. ``qty`` is signed: negative is short."""

    __slots__ = ()

    trade_id: str
    instrument: Instrument
    qty: int
    price: int
    leverage: int = 1
    strategy: str = ""


class Foreign(Input, kind=InputKind.FOREIGN):
    """Someone else's activity on this account. ``amount``: what it did to the wallet, before ``fee``; None: not known,
    so that the next balance may differ without freezing entries."""

    __slots__ = ()

    symbol: str = ""
    amount: int | None = None
    fee: int | None = None
