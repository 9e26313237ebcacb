"""What the bus gives back: stored messages, acknowledgements, states, and its own refusals.

Every refusal here is one of the six errors of ``kestrel_domain.errors``, with a more precise name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from kestrel_domain.errors import OutcomeUnknown, Refused, RemoteProtocolError, Unavailable

MESSAGE_ID_HEADER = "Nats-Msg-Id"
TRACEPARENT_HEADER = "traceparent"
EXPECTED_LAST_SEQUENCE_HEADER = "Nats-Expected-Last-Sequence"
EXPECTED_LAST_SUBJECT_SEQUENCE_HEADER = "Nats-Expected-Last-Subject-Sequence"

_WRONG_SEQUENCE_CODES = frozenset({10071, 10164})
_LIMIT_CODES = frozenset({10002, 10023, 10028, 10047, 10054, 10077, 10122})
_ADVISED_NOT_STORED_CODES = frozenset({503})
_UNDER_WAY_CODES = frozenset({10158})
"""An earlier attempt under the same message id is not finished: it may be stored yet, so this is no refusal."""


class WrongSequence(Refused):
    """The stream (or the key) is not where the writer believed it to be: somebody else wrote."""

    reason = "WRONG_SEQUENCE"


class KeyExists(Refused):
    """Somebody created the key first."""

    reason = "KEY_EXISTS"


class LimitReached(Unavailable):
    """A limit of the stream or of the store: nothing was stored, and nothing will be until a person makes room."""

    reason = "LIMIT_REACHED"


class ConsumerLost(Unavailable):
    """The consumer was deleted under us. It is not made again silently: its position is gone with it."""

    reason = "CONSUMER_LOST"


class DeliveryGap(Unavailable):
    """A consumer has sent what its reader did not take, or sends it again: from here on its order is lost.

    Everything before it was given out. Go on with a new loop, on a new consumer, from a position of your own.
    """

    reason = "DELIVERY_GAP"


@dataclass(frozen=True, slots=True)
class PubAck:
    """Where a message is stored. ``duplicate``: it was there already, under the same message id."""

    stream: str
    sequence: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class StreamState:
    """``messages`` are there now; ``last_sequence`` stays when they go."""

    first_sequence: int
    last_sequence: int
    messages: int


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message of a stream. ``time_ns`` is when the server stored it, UTC."""

    stream: str
    subject: str
    sequence: int
    time_ns: int
    data: bytes
    headers: dict[str, str] = field(default_factory=dict)
    delivery_count: int = 1
    consumer_sequence: int = 0
    """Which delivery of its consumer this is, counted from 1 without gaps; 0 if it was read, not delivered."""
    reply: str = ""
    """Where its acknowledgement goes; empty if it was read, not delivered."""
    pending: int = 0
    """How many messages the consumer had still to deliver after this one."""

    @property
    def traceparent(self) -> str:
        return self.headers.get(TRACEPARENT_HEADER, "")

    @property
    def message_id(self) -> str:
        return self.headers.get(MESSAGE_ID_HEADER, "")


def delivered(subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> StoredMessage:
    """A message as a consumer delivers it: stream, sequence and time are in the reply subject.

    ``$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>``, or the second form with
    domain and account hash before the stream (ADR-15).
    """
    tokens = reply.split(".")
    start = 2 if len(tokens) == 9 else 4
    if len(tokens) < 9 or tokens[0] != "$JS" or tokens[1] != "ACK":
        raise RemoteProtocolError(f"not a delivery of JetStream: reply {reply[:120]!r}", reason="BAD_DELIVERY")
    return StoredMessage(
        stream=tokens[start],
        subject=subject,
        sequence=int(tokens[start + 3]),
        time_ns=int(tokens[start + 5]),
        data=data,
        headers=headers or {},
        delivery_count=int(tokens[start + 2]),
        consumer_sequence=int(tokens[start + 4]),
        reply=reply,
        pending=int(tokens[start + 6]),
    )


def parse_time_ns(text: str) -> int:
    """``2026-05-20T20:37:54.580370123Z`` as UTC nanoseconds. The server leaves trailing zeros out."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)


def parse_headers(block: bytes) -> dict[str, str]:
    """The ``NATS/1.0`` header block of a message that was read."""
    headers = {}
    for line in block.split(b"\r\n")[1:]:
        name, separator, value = line.partition(b":")
        if separator:
            headers[name.strip().decode()] = value.strip().decode()
    return headers


def error_of(code: int, err_code: int, description: str, *, where: str) -> Exception:
    """JetStream's error as one of ours. ``err_code`` decides: the HTTP-like class of a full stream and of a missing
    leader is the same."""
    sentence = f"{where}: {description} ({err_code})"
    fields = {"field": where, "value": str(err_code), "rule": description}
    if err_code in _WRONG_SEQUENCE_CODES:
        return WrongSequence(sentence, **fields)
    if err_code in _LIMIT_CODES:
        return LimitReached(sentence, **fields)
    if err_code in _UNDER_WAY_CODES:
        return OutcomeUnknown(sentence, **fields)
    if code in _ADVISED_NOT_STORED_CODES:
        return Unavailable(sentence, reason="NO_LEADER", **fields)
    return Refused(sentence, reason=f"JETSTREAM_{err_code}", **fields)


__all__ = [
    "ConsumerLost",
    "DeliveryGap",
    "KeyExists",
    "LimitReached",
    "OutcomeUnknown",
    "PubAck",
    "StoredMessage",
    "StreamState",
    "Unavailable",
    "WrongSequence",
]
