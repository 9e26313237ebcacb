"""What the server says, read without a server."""

from __future__ import annotations

import pytest

from kestrel_chassis.messages import (
    LimitReached,
    WrongSequence,
    delivered,
    error_of,
    parse_headers,
    parse_time_ns,
)
from kestrel_domain.errors import OutcomeUnknown, Refused, RemoteProtocolError, Unavailable


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.INBOX.reader.2.41.7.1700000000123456789.5",
        "$JS.ACK.hub.ACCOUNT.INBOX.reader.2.41.7.1700000000123456789.5",
        "$JS.ACK.hub.ACCOUNT.INBOX.reader.2.41.7.1700000000123456789.5.token",
    ],
)
def test_a_delivery_says_where_it_is_stored_in_both_forms_of_its_reply(reply: str) -> None:
    message = delivered("inbox.0.A.exit", reply, b"x", {"traceparent": "t", "Nats-Msg-Id": "m"})
    assert (message.stream, message.sequence, message.delivery_count, message.pending) == ("INBOX", 41, 2, 5)
    assert message.consumer_sequence == 7
    assert (message.time_ns, message.traceparent, message.message_id) == (1700000000123456789, "t", "m")


def test_what_is_no_delivery_is_a_fault_of_the_peer() -> None:
    with pytest.raises(RemoteProtocolError):
        delivered("a", "_INBOX.x", b"", None)


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("2023-11-14T22:13:20.123456789Z", 1700000000123456789),
        ("2023-11-14T22:13:20.5Z", 1700000000500000000),
        ("2023-11-14T22:13:20Z", 1700000000000000000),
    ],
)
def test_stored_times_are_exact_to_the_nanosecond(text: str, time_ns: int) -> None:
    assert parse_time_ns(text) == time_ns


def test_a_header_block_is_read() -> None:
    assert parse_headers(b"NATS/1.0\r\nNats-Msg-Id: a:b\r\nEmpty:\r\n\r\n") == {"Nats-Msg-Id": "a:b", "Empty": ""}


@pytest.mark.parametrize(
    ("code", "err_code", "kind", "reason"),
    [
        (400, 10071, WrongSequence, "WRONG_SEQUENCE"),
        (400, 10164, WrongSequence, "WRONG_SEQUENCE"),
        (503, 10077, LimitReached, "LIMIT_REACHED"),
        (503, 10023, LimitReached, "LIMIT_REACHED"),
        (503, 10008, Unavailable, "NO_LEADER"),
        (404, 10059, Refused, "JETSTREAM_10059"),
        (409, 10158, OutcomeUnknown, "OUTCOME_UNKNOWN"),
    ],
)
def test_the_error_code_decides_not_the_class(code: int, err_code: int, kind: type, reason: str) -> None:
    error = error_of(code, err_code, "words", where="intent.A")
    assert type(error) is kind
    assert getattr(error, "reason", "") == reason
    assert "words" in str(error)
