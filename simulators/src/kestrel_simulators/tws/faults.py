"""The named faults of the simulated broker, which of them are armed, and whose they are.

A fault is either *spoken* or *of the socket*. What is said is the broker's: spoken faults are records of its log and
happen again when it is replayed. How it travels is the server's: faults of the socket live as long as the process.

``Faults`` is used by both. ``take`` asks whether a fault happens here and now, and counts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest

_PREFIX = "FAULT_"


class Fault(Enum):
    """One way to misbehave. Names are those of the contract without their prefix."""

    SWALLOW_ACK = tws_pb2.FAULT_SWALLOW_ACK
    SWALLOW_FILL_THEN_REPLAY = tws_pb2.FAULT_SWALLOW_FILL_THEN_REPLAY
    DELAY_REPLIES = tws_pb2.FAULT_DELAY_REPLIES
    DROP_ON_REQUEST = tws_pb2.FAULT_DROP_ON_REQUEST
    DROP_AFTER_ACK = tws_pb2.FAULT_DROP_AFTER_ACK
    DROP_AFTER_FILL = tws_pb2.FAULT_DROP_AFTER_FILL
    DUPLICATE_STATUS = tws_pb2.FAULT_DUPLICATE_STATUS
    REORDER_STATUS = tws_pb2.FAULT_REORDER_STATUS
    FILL_BEFORE_ACK = tws_pb2.FAULT_FILL_BEFORE_ACK
    NO_ORDER_STATUS = tws_pb2.FAULT_NO_ORDER_STATUS
    PARTIAL_THEN_CANCEL_RACE = tws_pb2.FAULT_PARTIAL_THEN_CANCEL_RACE
    REJECT_201 = tws_pb2.FAULT_REJECT_201
    LATE_BACKWARD_STATUS = tws_pb2.FAULT_LATE_BACKWARD_STATUS
    EXECUTION_AFTER_CANCELED = tws_pb2.FAULT_EXECUTION_AFTER_CANCELED
    COMMISSION_NEVER = tws_pb2.FAULT_COMMISSION_NEVER
    COMMISSION_LATE = tws_pb2.FAULT_COMMISSION_LATE
    COMMISSION_MINUS_ONE = tws_pb2.FAULT_COMMISSION_MINUS_ONE
    STALE_PRICES = tws_pb2.FAULT_STALE_PRICES
    WRONG_POSITION = tws_pb2.FAULT_WRONG_POSITION
    NO_END_MARKER = tws_pb2.FAULT_NO_END_MARKER
    UNKNOWN_TIME_ZONE = tws_pb2.FAULT_UNKNOWN_TIME_ZONE
    MALFORMED_FRAME = tws_pb2.FAULT_MALFORMED_FRAME
    OVERSIZED_FRAME = tws_pb2.FAULT_OVERSIZED_FRAME
    TRUNCATED_FRAME = tws_pb2.FAULT_TRUNCATED_FRAME
    UNKNOWN_MESSAGE = tws_pb2.FAULT_UNKNOWN_MESSAGE
    BYTE_WISE = tws_pb2.FAULT_BYTE_WISE
    CLIENT_ID_IN_USE = tws_pb2.FAULT_CLIENT_ID_IN_USE
    SECOND_PERM_ID = tws_pb2.FAULT_SECOND_PERM_ID
    NEXT_ID_ROLLBACK = tws_pb2.FAULT_NEXT_ID_ROLLBACK
    WARNING_399 = tws_pb2.FAULT_WARNING_399
    TIF_10349 = tws_pb2.FAULT_TIF_10349
    VANISHED_ORDER = tws_pb2.FAULT_VANISHED_ORDER
    HALF_DEAD = tws_pb2.FAULT_HALF_DEAD

    @classmethod
    def of(cls, number: int) -> Fault:
        """From the wire, or ``InvalidRequest``."""
        try:
            return cls(number)
        except ValueError:
            raise InvalidRequest.of("fault", number, "a fault of the contract") from None


def request_name(request: object) -> str:
    """How a fault names a request: ``ReqPositions`` is ``REQ_POSITIONS``. An order that changes another is a
    ``MODIFY_ORDER``."""
    return "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in type(request).__name__)[1:]


# How it travels: the server arms and takes these, and the broker never hears of them.
SOCKET_FAULTS = frozenset(
    {
        Fault.DELAY_REPLIES,
        Fault.DROP_ON_REQUEST,
        Fault.DROP_AFTER_ACK,
        Fault.DROP_AFTER_FILL,
        Fault.MALFORMED_FRAME,
        Fault.OVERSIZED_FRAME,
        Fault.TRUNCATED_FRAME,
        Fault.UNKNOWN_MESSAGE,
        Fault.BYTE_WISE,
        Fault.CLIENT_ID_IN_USE,
        Fault.HALF_DEAD,
    }
)
# What is said: the broker's, in its log.
SPOKEN_FAULTS = frozenset(Fault) - SOCKET_FAULTS


@dataclass(slots=True)
class Armed:
    """A fault that is set: how often it may still happen (0: until cleared), to what, and how long it delays."""

    fault: Fault
    count: int = 0
    order_type: str = ""
    request: str = ""
    delay_ms: int = 0
    happened_count: int = 0

    @property
    def is_spent(self) -> bool:
        return 0 < self.count <= self.happened_count

    def fits(self, order_type: str, request: str) -> bool:
        """A filter that is empty fits everything; one that is set fits only its own."""
        return self.order_type in ("", order_type) and self.request in ("", request)

    def message(self) -> tws_pb2.ArmedFault:
        setting = tws_pb2.SetFaultRequest(
            fault=self.fault.value,
            count=self.count,
            order_type=self.order_type,
            request=self.request,
            delay_ms=self.delay_ms,
        )
        return tws_pb2.ArmedFault(setting=setting, happened_count=self.happened_count)


@dataclass(slots=True)
class Faults:
    """What is armed. The same fault with the same filters is armed once; the last setting counts."""

    _armed: dict[tuple[Fault, str, str], Armed] = field(default_factory=dict)

    def arm(self, setting: tws_pb2.SetFaultRequest) -> None:
        fault = Fault.of(setting.fault)
        armed = Armed(fault, setting.count, setting.order_type, setting.request, setting.delay_ms)
        self._armed[fault, armed.order_type, armed.request] = armed

    def clear(self, number: int) -> None:
        """Disarm one fault with all its filters, or everything when no fault is named."""
        fault = Fault.of(number) if number else None
        self._armed = {key: armed for key, armed in self._armed.items() if fault is not None and key[0] is not fault}

    def take(self, fault: Fault, *, order_type: str = "", request: str = "") -> Armed | None:
        """The fault, if it happens to this order or request now; counted when it does."""
        armed = self.armed(fault, order_type=order_type, request=request)
        if armed is not None:
            armed.happened_count += 1
        return armed

    def armed(self, fault: Fault, *, order_type: str = "", request: str = "") -> Armed | None:
        """The same without counting."""
        for armed in self._armed.values():
            if armed.fault is fault and not armed.is_spent and armed.fits(order_type, request):
                return armed
        return None

    def __iter__(self) -> Iterator[Armed]:
        return iter(self._armed.values())
