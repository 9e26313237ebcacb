"""One conversation, and the pace of it: bytes and time in, meaning out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel_domain.timestamps import MILLISECOND_NS, SECOND_NS
from kestrel_simulators.tws import requests, wire
from kestrel_simulators.tws.session import Asked, Broken, Greeted, Pace, Session, Stage, Stalls, Unreadable, Verdict

HELLO = wire.MAGIC + wire.frame(b"v157..176")


def frame(*texts: str) -> bytes:
    return wire.frame(wire.join(texts))


START = frame("71", "2", "7", "")


def ready_session() -> Session:
    session = Session()
    session.receive(HELLO + START)
    assert session.stage is Stage.READY
    return session


def test_a_conversation_begins_with_versions_and_a_client_id() -> None:
    session = Session()
    assert session.receive(HELLO) == [Greeted(176)]
    (asked,) = session.receive(START)
    assert asked == Asked(requests.StartApi(7), wire.join(["71", "2", "7", ""]))
    (asked,) = session.receive(frame("61", "1"))
    assert asked == Asked(requests.ReqPositions(), wire.join(["61", "1"]))


@given(st.data())
def test_a_conversation_means_the_same_however_it_is_cut(data: st.DataObject) -> None:
    stream = HELLO + START + frame("61", "1") + frame("49", "1")
    session, events, position = Session(), [], 0
    while position < len(stream):
        size = data.draw(st.integers(1, 20))
        events += session.receive(stream[position : position + size])
        position += size
    assert [type(event) for event in events] == [Greeted, Asked, Asked, Asked]


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\n", b"A\0", b"v157..176", b"\0\0\0\x09v157..176"])
def test_whoever_does_not_begin_like_a_client_is_not_read_any_further(begin: bytes) -> None:
    session = Session()
    (broken,) = session.receive(begin)
    assert isinstance(broken, Broken)
    assert session.receive(HELLO + START) == []


def test_a_client_that_only_speaks_newer_versions_is_turned_away() -> None:
    session = Session()
    (broken,) = session.receive(wire.MAGIC + wire.frame(b"v177..200"))
    assert isinstance(broken, Broken)
    assert "157 to 176" in str(broken.error)


def test_nothing_is_asked_before_the_session_has_started() -> None:
    session = Session()
    greeted, broken = session.receive(HELLO + frame("61", "1") + START)
    assert isinstance(greeted, Greeted)
    assert isinstance(broken, Broken)
    assert session.stage is Stage.BROKEN


def test_a_request_that_cannot_be_read_is_named_and_the_next_one_is_read() -> None:
    session = ready_session()
    events = session.receive(frame("61", "1", "extra") + frame("4", "1", "12", "", "more") + frame("49", "1"))
    assert [type(event) for event in events] == [Unreadable, Unreadable, Asked]
    assert [event.req_id for event in events[:2]] == [-1, 12]


def test_a_frame_that_announces_too_much_ends_the_conversation() -> None:
    session = ready_session()
    (broken,) = session.receive(b"\x7f\xff\xff\xff")
    assert isinstance(broken, Broken)


@given(st.binary(max_size=300))
def test_no_bytes_break_a_session(data: bytes) -> None:
    session = ready_session()
    for event in session.receive(data):
        assert isinstance(event, (Asked, Unreadable, Broken))


def no_stalls(begin_ns: int) -> int:
    return 0


def verdicts(pace: Pace, count: int, every_ns: int, start_ns: int = 0) -> list[Verdict]:
    return [pace.admit(start_ns + number * every_ns) for number in range(count)]


def test_fifty_messages_in_any_second_are_admitted_for_ever() -> None:
    assert set(verdicts(Pace(50, no_stalls), 1000, 20 * MILLISECOND_NS)) == {Verdict.ADMITTED}


def test_a_burst_of_fifty_is_admitted_and_the_next_message_is_refused() -> None:
    pace = Pace(50, no_stalls)
    assert verdicts(pace, 51, 0) == [Verdict.ADMITTED] * 50 + [Verdict.REFUSED]
    assert pace.admit(SECOND_NS) is Verdict.ADMITTED


def test_who_is_too_fast_for_three_seconds_is_cut_off() -> None:
    said = verdicts(Pace(50, no_stalls), 400, 10 * MILLISECOND_NS)
    first_end = said.index(Verdict.END)
    assert Verdict.REFUSED in said[:100]
    assert 200 <= first_end <= 301


def test_being_too_fast_now_and_then_is_forgiven() -> None:
    pace = Pace(50, no_stalls)
    for minute in range(5):
        said = verdicts(pace, 60, 0, minute * 61 * SECOND_NS)
        assert said.count(Verdict.REFUSED) == 10
        assert Verdict.END not in said


def test_no_limit_is_no_limit() -> None:
    assert set(verdicts(Pace(0, no_stalls), 1000, 0)) == {Verdict.ADMITTED}


def test_a_client_is_not_blamed_for_what_came_while_nobody_was_looking() -> None:
    """The server stood still for two seconds; the client sent 45 a second, and all of it is read at once."""
    stalls = Stalls()
    pace = Pace(50, stalls.within)
    stalls.add(3 * SECOND_NS, 2 * SECOND_NS)
    assert set(verdicts(pace, 135, MILLISECOND_NS, 3 * SECOND_NS)) == {Verdict.ADMITTED}
    assert Verdict.REFUSED in verdicts(pace, 60, MILLISECOND_NS, 3 * SECOND_NS + 200 * MILLISECOND_NS)


def test_stalls_are_forgotten_when_they_ended_before_and_short_ones_are_none() -> None:
    stalls = Stalls()
    stalls.add(SECOND_NS, 500 * MILLISECOND_NS)
    stalls.add(2 * SECOND_NS, MILLISECOND_NS)
    stalls.add(3 * SECOND_NS, 700 * MILLISECOND_NS)
    assert [stalls.within(begin) for begin in (0, SECOND_NS, 3 * SECOND_NS)] == [
        1200 * MILLISECOND_NS,
        700 * MILLISECOND_NS,
        0,
    ]
