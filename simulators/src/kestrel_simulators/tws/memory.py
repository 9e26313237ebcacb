"""The broker's memory: its inputs as records of a log, and how they are applied, in service and in replay alike.

A shell does, for every input: ``due`` first, and applies what it gives; then applies the input's own record; appends
the records to the log; and sends what came of them once they are durable. A control record that is refused leaves no
record, and no trace, because what was due had a record of its own. Requests that only ask for the time need none.

    CONNECT, DISCONNECT   client id
    REQUEST               client id, server version, the payload as it came
    ADVANCE, RESTART      nothing
    everything else       a message of the admin door
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum

from google.protobuf.message import DecodeError, Message

from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest, InvariantBroken, KestrelError
from kestrel_simulators.log import Record
from kestrel_simulators.tws import requests
from kestrel_simulators.tws.broker import Addressed, Broker
from kestrel_simulators.tws.wire import SERVER_VERSION

_CLIENT = struct.Struct(">q")
_REQUEST = struct.Struct(">qH")


class Kind(IntEnum):
    """What a record is. Numbers are written to disk and never reused."""

    ADVANCE = 1
    CONNECT = 2
    DISCONNECT = 3
    REQUEST = 4
    RESTART = 5
    OPEN_ACCOUNT = 10
    PUBLISH_BAR = 11
    PUBLISH_QUOTE = 12
    SET_MODE = 13
    SET_MARKET_HOURS = 14
    SET_FAULT = 15
    CLEAR_FAULTS = 16
    INDUCE_DRIFT = 17
    PLACE_MANUAL_ORDER = 18
    CANCEL_ORDER_BY_HAND = 19
    BUST_EXECUTION = 20
    CORRECT_EXECUTION = 21
    SET_CONNECTIVITY = 22
    RESET_DAY = 23


_CONTROLS: dict[Kind, type[Message]] = {
    Kind.OPEN_ACCOUNT: tws_pb2.OpenAccountRequest,
    Kind.PUBLISH_BAR: tws_pb2.PublishBarRequest,
    Kind.PUBLISH_QUOTE: tws_pb2.PublishQuoteRequest,
    Kind.SET_MODE: tws_pb2.SetModeRequest,
    Kind.SET_MARKET_HOURS: tws_pb2.SetMarketHoursRequest,
    Kind.SET_FAULT: tws_pb2.SetFaultRequest,
    Kind.CLEAR_FAULTS: tws_pb2.ClearFaultsRequest,
    Kind.INDUCE_DRIFT: tws_pb2.InduceDriftRequest,
    Kind.PLACE_MANUAL_ORDER: tws_pb2.PlaceManualOrderRequest,
    Kind.CANCEL_ORDER_BY_HAND: tws_pb2.CancelOrderByHandRequest,
    Kind.BUST_EXECUTION: tws_pb2.BustExecutionRequest,
    Kind.CORRECT_EXECUTION: tws_pb2.CorrectExecutionRequest,
    Kind.SET_CONNECTIVITY: tws_pb2.SetConnectivityRequest,
    Kind.RESET_DAY: tws_pb2.ResetDayRequest,
}
_KINDS = {message: kind for kind, message in _CONTROLS.items()}


# ── Records ────────────────────────────────────────────────────────────────────────────────────────────


def connected(client_id: int, now_ns: int) -> Record:
    return Record(Kind.CONNECT, now_ns, _CLIENT.pack(client_id))


def disconnected(client_id: int, now_ns: int) -> Record:
    return Record(Kind.DISCONNECT, now_ns, _CLIENT.pack(client_id))


def requested(client_id: int, payload: bytes, now_ns: int, server_version: int = SERVER_VERSION) -> Record:
    """A request that could be parsed; one that could not is no input of the broker."""
    return Record(Kind.REQUEST, now_ns, _REQUEST.pack(client_id, server_version) + payload)


def controlled(message: Message, now_ns: int) -> Record:
    kind = _KINDS.get(type(message))
    if kind is None:
        raise InvalidRequest.of("record", type(message).__name__, "a record that is the broker's")
    return Record(kind, now_ns, message.SerializeToString(deterministic=True))


def restarted(now_ns: int) -> Record:
    return Record(Kind.RESTART, now_ns, b"")


def due(broker: Broker, now_ns: int) -> Record | None:
    """What has to be applied before anything else at this moment."""
    deadline_ns = broker.next_deadline_ns()
    is_due = deadline_ns is not None and deadline_ns <= now_ns
    return Record(Kind.ADVANCE, now_ns, b"") if is_due else None


def needs_record(request: requests.Request) -> bool:
    """Whether a request may change anything at all."""
    return not isinstance(request, requests.ReqCurrentTime | requests.UnknownRequest | requests.SetServerLogLevel)


# ── Applying them ──────────────────────────────────────────────────────────────────────────────────────


def apply(broker: Broker, record: Record) -> list[Addressed]:
    """Do what a record says. Raises, and has changed nothing, when a control record is refused."""
    kind, now_ns = Kind(record.kind), record.time_ns
    if kind is Kind.ADVANCE:
        return broker.advance(now_ns=now_ns)
    if kind is Kind.CONNECT:
        return broker.connect(*_CLIENT.unpack(record.body), now_ns=now_ns)
    if kind is Kind.DISCONNECT:
        return broker.disconnect(*_CLIENT.unpack(record.body), now_ns=now_ns)
    if kind is Kind.RESTART:
        return broker.restart(now_ns=now_ns)
    if kind is Kind.REQUEST:
        client_id, server_version = _REQUEST.unpack_from(record.body)
        request = requests.parse(record.body[_REQUEST.size :], server_version)
        return broker.handle(client_id, request, now_ns=now_ns)
    return broker.control(_CONTROLS[kind].FromString(record.body), now_ns=now_ns)


def replay(broker: Broker, records: Iterable[Record]) -> int:
    """Do everything again; returns how many records there were. What cannot be done again is a broken log."""
    count = 0
    for record in records:
        try:
            apply(broker, record)
        except (KestrelError, ValueError, KeyError, struct.error, DecodeError, AssertionError) as error:
            raise InvariantBroken(
                f"the log holds a record that cannot be applied: kind {record.kind} at {record.time_ns}: {error}",
                reason="LOG_CORRUPTED",
            ) from error
        count += 1
    return count
