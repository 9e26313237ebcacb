"""One connection's conversation, without a socket: bytes in, what they mean out.

    MAGIC ---- "API\\0" ----> HELLO ---- versions ----> START ---- startApi ----> READY
      `----------- anything else -------------------------'----------------------> BROKEN (nothing more is read)

Also the pace of a client, which the gateway watches: so many messages in any second, and no more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from kestrel_domain.timestamps import MILLISECOND_NS, SECOND_NS
from kestrel_simulators.tws import requests, wire
from kestrel_simulators.tws.wire import FrameReader, WireError


class Stage(Enum):
    MAGIC = auto()
    HELLO = auto()
    START = auto()
    READY = auto()
    BROKEN = auto()


@dataclass(frozen=True, slots=True)
class Greeted:
    """The client has named its versions; this one was agreed on."""

    server_version: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read, with the payload it was read from. The first of a session is ``StartApi``."""

    request: requests.Request
    payload: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A frame that is no request. The ones after it can still be read."""

    error: WireError
    req_id: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream itself makes no sense: there is no way to go on."""

    error: WireError


Event = Greeted | Asked | Unreadable | Broken


class Session:
    """Reads what one client sends."""

    def __init__(self) -> None:
        self.stage = Stage.MAGIC
        self.server_version = 0
        self._start = bytearray()
        self._frames = FrameReader()

    def receive(self, data: bytes) -> list[Event]:
        """What the bytes that have come say, in their order."""
        if self.stage is Stage.BROKEN:
            return []
        try:
            return self._events(data)
        except WireError as error:
            self.stage = Stage.BROKEN
            return [Broken(error)]

    def _events(self, data: bytes) -> list[Event]:
        if self.stage is Stage.MAGIC:
            data = self._read_magic(data)
        events: list[Event] = []
        for payload in self._frames.receive(data):
            events.append(self._event(payload))
            if isinstance(events[-1], Broken):
                self.stage = Stage.BROKEN
                break
        return events

    def _read_magic(self, data: bytes) -> bytes:
        self._start += data
        begun = bytes(self._start[: len(wire.MAGIC)])
        if not wire.MAGIC.startswith(begun):
            raise WireError.of("connection", begun, "begins with API and a NUL byte")
        if len(begun) < len(wire.MAGIC):
            return b""
        self.stage = Stage.HELLO
        return bytes(self._start[len(wire.MAGIC) :])

    def _event(self, payload: bytes) -> Event:
        try:
            if self.stage is Stage.HELLO:
                return self._greeted(payload)
            asked = Asked(requests.parse(payload, self.server_version), payload)
            if self.stage is Stage.START:
                self._start_with(asked.request)
            return asked
        except WireError as error:
            if self.stage is Stage.READY:
                return Unreadable(error, requests.request_id_of(payload))
            return Broken(error)

    def _greeted(self, payload: bytes) -> Greeted:
        self.server_version = wire.agreed_version(wire.parse_hello(payload))
        self.stage = Stage.START
        return Greeted(self.server_version)

    def _start_with(self, request: requests.Request) -> None:
        if not isinstance(request, requests.StartApi):
            raise WireError.of("message", type(request).__name__, "startApi before anything else")
        self.stage = Stage.READY


# The pace


class Verdict(Enum):
    ADMITTED = auto()
    REFUSED = auto()
    END = auto()


class Stalls:
    """How long this process itself was not looking. What came meanwhile is read at once and was not sent at once."""

    LEAST_NS = 5 * MILLISECOND_NS

    def __init__(self) -> None:
        self._stalls: deque[tuple[int, int]] = deque(maxlen=1000)

    def add(self, ended_ns: int, length_ns: int) -> None:
        if length_ns >= self.LEAST_NS:
            self._stalls.append((ended_ns, length_ns))

    def within(self, begin_ns: int) -> int:
        """The time that was lost in stalls which ended after a moment."""
        total = 0
        for ended_ns, length_ns in reversed(self._stalls):
            if ended_ns <= begin_ns:
                break
            total += length_ns
        return total


class Pace:
    """At most so many messages in any second. One too many is refused; who goes on for three seconds is cut off."""

    SECONDS_MAX = 3
    FORGIVEN_NS = 60 * SECOND_NS

    def __init__(self, messages_per_s: int, stalled_ns: Callable[[int], int]) -> None:
        """No messages at all per second means no limit. ``stalled_ns`` says what was lost since a moment."""
        self._limit = messages_per_s
        self._stalled_ns = stalled_ns
        self._arrivals: deque[int] = deque()
        self._violation_ns: deque[int] = deque(maxlen=self.SECONDS_MAX)

    def admit(self, now_ns: int) -> Verdict:
        """Whether one more message may be handled now. The time never goes back."""
        if not self._limit:
            return Verdict.ADMITTED
        begin_ns = now_ns - SECOND_NS
        while self._arrivals and self._arrivals[0] <= begin_ns:
            self._arrivals.popleft()
        self._arrivals.append(now_ns)
        if len(self._arrivals) <= self._limit:
            return Verdict.ADMITTED
        seconds_ns = SECOND_NS + self._stalled_ns(begin_ns)
        if len(self._arrivals) <= self._limit * seconds_ns // SECOND_NS:
            return Verdict.ADMITTED
        self._arrivals.pop()
        return self._violated(now_ns)

    def _violated(self, now_ns: int) -> Verdict:
        if not self._violation_ns or now_ns - self._violation_ns[-1] >= SECOND_NS:
            self._violation_ns.append(now_ns)
        is_over = len(self._violation_ns) == self.SECONDS_MAX
        return Verdict.END if is_over and now_ns - self._violation_ns[0] < self.FORGIVEN_NS else Verdict.REFUSED
