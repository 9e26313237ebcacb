"""The simulated bus keeps the rules of the real one."""

from __future__ import annotations

import pytest

from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvariantBroken
from kestrel_testkit.world import KeyExists, SimulatedBus, WrongSequence, stream_of

ENTRY = subjects.inbox(0, "A-1", "entry")


def _publish(bus: SimulatedBus, message_id: str, *, now_ns: int = 1, expected: int | None = None) -> tuple[int, bool]:
    return bus.publish(Publish(ENTRY, b"", message_id, ""), now_ns=now_ns, expected_last_sequence=expected)


def test_a_known_id_is_answered_with_its_first_sequence_and_stores_nothing() -> None:
    bus = SimulatedBus()
    assert _publish(bus, "a") == (1, False)
    assert _publish(bus, "a") == (1, True)
    assert bus.last_sequence(subjects.INBOX) == 1


def test_an_id_is_stored_again_once_the_window_has_passed() -> None:
    bus = SimulatedBus()
    _publish(bus, "a")
    bus.forget_ids(subjects.INBOX)
    assert _publish(bus, "a") == (2, False)


def test_a_writer_who_is_wrong_about_the_last_sequence_is_refused() -> None:
    bus = SimulatedBus()
    _publish(bus, "a", expected=0)
    with pytest.raises(WrongSequence):
        _publish(bus, "b", expected=0)
    assert bus.last_sequence(subjects.INBOX) == 1


def test_stored_times_never_go_back() -> None:
    bus = SimulatedBus()
    _publish(bus, "a", now_ns=5)
    _publish(bus, "b", now_ns=3)
    assert [message.time_ns for message in bus.read(subjects.INBOX)] == [5, 5]


def test_reading_begins_at_a_sequence_and_keeps_to_a_prefix() -> None:
    bus = SimulatedBus()
    for message_id in ("a", "b", "c"):
        _publish(bus, message_id)
    assert [message.sequence for message in bus.read(subjects.INBOX, start_sequence=2)] == [2, 3]
    assert list(bus.read(subjects.INBOX, prefix="inbox.1.")) == []


def test_a_key_is_created_once() -> None:
    bus = SimulatedBus()
    bus.create("spent", "token", b"first")
    with pytest.raises(KeyExists):
        bus.create("spent", "token", b"second")
    assert (bus.get("spent", "token") or (b"", 0))[0] == b"first"


def test_a_key_is_updated_only_from_its_newest_revision() -> None:
    bus = SimulatedBus()
    revision = bus.update("flags", "kill", b"one", 0)
    bus.update("flags", "kill", b"two", revision)
    with pytest.raises(WrongSequence):
        bus.update("flags", "kill", b"three", revision)


def test_subjects_belong_to_the_streams_of_the_real_bus() -> None:
    assert stream_of(ENTRY) == subjects.INBOX
    assert stream_of("journal.3.A-1") == subjects.journal_stream(3)
    with pytest.raises(InvariantBroken):
        SimulatedBus().last_sequence("no-stream")
