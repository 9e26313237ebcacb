"""State = fold(journal): the same entries, byte for byte, from any beginning and with any duplicates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import kernel_views_twin as twins
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import InvariantBroken
from kestrel_kernel.core import replay
from kestrel_kernel.core.partition import PARKED, Partition, decode_snapshot, encode_snapshot

FACTS = [value for value in venue_pb2.OrderFact.values() if value]
SIDES = [common_pb2.SIDE_BUY, common_pb2.SIDE_SELL]

actions = st.lists(
    st.one_of(
        st.tuples(st.just("entry"), st.integers(0, 3)),
        st.tuples(st.just("exit"), st.integers(0, 3)),
        st.tuples(st.just("order"), st.integers(0, 3), st.sampled_from(FACTS), st.booleans()),
        st.tuples(
            st.just("fill"),
            st.integers(0, 3),
            st.booleans(),
            st.integers(1, 120),
            st.sampled_from(["", "149.50", "151"]),
        ),
        st.tuples(st.just("mark"), st.sampled_from(["148.00", "155.0001"])),
        st.tuples(st.just("balance"), st.sampled_from(["1000000", "999990.5", "0"])),
        st.tuples(st.just("control"), st.sampled_from([value for value in inbox_pb2.ControlAction.values() if value])),
        st.tuples(st.just("tick"), st.sampled_from([1, 61])),
        st.tuples(st.just("garbage"), st.binary(max_size=40)),
        st.tuples(st.just("again")),
    ),
    min_size=1,
    max_size=40,
)


def play(desk: Any, messages: Any, script: Sequence[tuple[Any, ...]]) -> None:
    """Put a random script into a desk. Trades, orders and executions are few, so that things meet."""
    exits: dict[int, str] = {}
    last: bytes = b""
    last_door = "tick"
    for index, (kind, *arguments) in enumerate(script):
        match kind, *arguments:
            case "entry", number:
                message = messages.entry(messages.intent(f"trade-{number}"), expires_at_ns=desk.now_ns + 10**12)
            case "exit", number:
                exits[number] = messages.exit_order_id(f"trade-{number}", desk.sequence + 3)
                message = messages.exit(f"trade-{number}", f"exit-{index}")
            case "order", number, fact, is_exit:
                order_id = exits.get(number, "none") if is_exit else messages.entry_order_id(f"trade-{number}")
                message = messages.order(f"o-{index}", fact, order_id)
            case "fill", number, is_exit, qty, price:
                order_id = exits.get(number, "none") if is_exit else messages.entry_order_id(f"trade-{number}")
                message = messages.fill(f"E-{index}", order_id, SIDES[is_exit], str(qty), price, "0.75")
            case "mark", price:
                message = messages.mark(f"m-{index}", price)
            case "balance", wallet:
                message = messages.balance(f"b-{index}", wallet)
            case "control", action:
                order_id = messages.entry_order_id("trade-0")
                message = messages.control(action, f"c-{index}", client_order_id=order_id)
            case "tick", seconds:
                desk.now_ns += seconds * 1_000_000_000
                message = messages.tick()
            case "garbage", data:
                desk.put(data, door="venue")
                continue
            case _:
                desk.put(last, door=last_door)
                continue
        last, last_door = message.SerializeToString(), message.WhichOneof("body")
        desk.put(message)


def fresh_desk(desk: Any, configuration: state_pb2.AccountConfiguration) -> Any:
    """Hypothesis runs many examples on one fixture: give each its own."""
    partition = Partition(0, 1)
    new = type(desk)(partition)
    new.steps.append(partition.start_epoch(1, "test", [configuration], recorded_at_ns=7))
    return new


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions)
def test_replaying_any_journal_gives_the_same_bytes_and_digests_K21(
    desk: Any, messages: Any, configuration: state_pb2.AccountConfiguration, script: list[tuple[Any, ...]]
) -> None:
    lived = fresh_desk(desk, configuration)
    play(lived, messages, script)
    replayed = Partition(0, 1)
    for step in lived.steps:
        replay.fold(replayed, step.journal_sequence, step.data)
    assert replayed.digest("PAPER-1") == lived.partition.digest("PAPER-1")
    assert encode_snapshot(replayed.save()) == encode_snapshot(lived.partition.save())
    account = replayed._accounts["PAPER-1"]
    assert account.now_ns == account.kernel.account().now_ns
    assert replayed.account("PAPER-1") == twins.account(account.kernel.account())
    assert replayed.slots("PAPER-1") == [twins.slot(slot) for slot in account.kernel.slots()]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions, actions)
def test_going_on_from_a_snapshot_equals_one_straight_run_K21(
    desk: Any,
    messages: Any,
    configuration: state_pb2.AccountConfiguration,
    before: list[tuple[Any, ...]],
    after: list[tuple[Any, ...]],
) -> None:
    lived = fresh_desk(desk, configuration)
    play(lived, messages, before)
    restored = Partition.restored(decode_snapshot(encode_snapshot(lived.partition.save())), 1)
    saved_count = len(lived.steps)
    play(lived, messages, after)
    for step in lived.steps[saved_count:]:
        entry = replay.fold(restored, step.journal_sequence, step.data)
        assert entry == step.entry
    assert encode_snapshot(restored.save()) == encode_snapshot(lived.partition.save())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions)
def test_the_same_messages_in_another_partition_give_the_same_entries_K21(
    desk: Any, messages: Any, configuration: state_pb2.AccountConfiguration, script: list[tuple[Any, ...]]
) -> None:
    first, second = fresh_desk(desk, configuration), fresh_desk(desk, configuration)
    play(first, messages, script)
    play(second, messages, script)
    assert [step.data for step in first.steps] == [step.data for step in second.steps]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions)
def test_redelivered_events_change_nothing_K10(
    desk: Any, messages: Any, configuration: state_pb2.AccountConfiguration, script: list[tuple[Any, ...]]
) -> None:
    lived = fresh_desk(desk, configuration)
    play(lived, messages, script)
    digest = lived.partition.digest("PAPER-1")
    for step in list(lived.steps):
        entry = step.entry
        if entry.door in ("", "tick") or not entry.outcome.accepted or b"mark" in entry.input:
            continue
        message = inbox_pb2.InboxMessage.FromString(entry.input)
        if message.venue.WhichOneof("body") == "mark":
            continue
        again = lived.put(message)
        assert again.outcome.code == "DUPLICATE_EVENT"
        assert not again.commands
    assert lived.partition.digest("PAPER-1") == digest


_FOLD_ELSEWHERE = """
import sys
from kestrel_kernel.core import replay
from kestrel_kernel.core.partition import Partition

partition = Partition(0, 1)
for sequence, line in enumerate(sys.stdin, start=1):
    replay.fold(partition, sequence, bytes.fromhex(line))
    print(partition.digest("PAPER-1").hex())
"""


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_comes_to_the_same_digest_after_every_entry_K21(
    desk: Any, messages: Any, hash_seed: str
) -> None:
    """Where hashes of texts, and so the order of sets, are other ones."""
    acknowledged = venue_pb2.ORDER_FACT_ACKNOWLEDGED
    first = [("entry", 0), ("order", 0, acknowledged, False), ("fill", 0, False, 60, "151"), ("fill", 0, False, 40, "")]
    leaves = [("mark", "155.0001"), ("exit", 0), ("fill", 0, True, 100, "149.50"), ("again",)]
    second = [("entry", 1), ("garbage", b"\xff"), ("balance", "999990.5"), ("fill", 1, False, 7, "151"), ("tick", 61)]
    play(desk, messages, [*first, *leaves, *second])
    journal = [step.data for step in desk.steps]
    here, digests = Partition(0, 1), []
    for sequence, data in enumerate(journal, start=1):
        replay.fold(here, sequence, data)
        digests.append(here.digest("PAPER-1").hex())
    elsewhere = subprocess.run(
        [sys.executable, "-c", _FOLD_ELSEWHERE],
        input="".join(f"{data.hex()}\n" for data in journal),
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert elsewhere.stdout.split() == digests
    assert len(set(digests)) >= 8, "it is a journal in which something happens"


@pytest.fixture
def journal(desk: Any, messages: Any) -> list[bytes]:
    script = [
        ("entry", 0),
        ("order", 0, venue_pb2.ORDER_FACT_SUBMITTING, False),
        ("fill", 0, False, 100, "151"),
        ("tick", 1),
    ]
    play(desk, messages, script)
    return [step.data for step in desk.steps]


def folded(journal: Sequence[bytes]) -> Partition:
    partition = Partition(0, 1)
    for sequence, data in enumerate(journal, start=1):
        replay.fold(partition, sequence, data)
    return partition


def test_a_missing_entry_breaks_the_replay(journal: list[bytes]) -> None:
    partition = folded(journal[:2])
    with pytest.raises(InvariantBroken) as caught:
        replay.fold(partition, 4, journal[3])
    assert caught.value.reason == "JOURNAL_GAP"


def test_a_changed_byte_in_any_entry_breaks_the_chain(journal: list[bytes]) -> None:
    changed = journal_pb2.JournalEntry.FromString(journal[2])
    changed.recorded_at_ns += 1
    journal[2] = changed.SerializeToString()
    with pytest.raises(InvariantBroken) as caught:
        folded(journal)
    assert caught.value.reason == "JOURNAL_CHAIN_BROKEN"


def test_bytes_that_are_no_entry_break_the_replay(journal: list[bytes]) -> None:
    journal[2] = b"\xff\xff"
    with pytest.raises(InvariantBroken) as caught:
        folded(journal)
    assert caught.value.reason == "JOURNAL_DAMAGED"


@pytest.mark.parametrize("field", ["state_digest", "outcome", "commands"])
def test_an_entry_that_says_otherwise_than_its_input_breaks_the_replay(journal: list[bytes], field: str) -> None:
    entry = journal_pb2.JournalEntry.FromString(journal[1])
    if field == "state_digest":
        entry.state_digest = b"\x00" * 32
    elif field == "outcome":
        entry.outcome.accepted = False
    else:
        entry.commands[0].order_qty.units += 1
    with pytest.raises(InvariantBroken) as caught:
        folded([journal[0], entry.SerializeToString()])
    assert caught.value.reason == "REPLAY_DIFFERS"
    assert field in str(caught.value)


def test_a_parked_input_stays_parked_even_if_the_rules_would_take_it_today(
    desk: Any, messages: Any, configuration: state_pb2.AccountConfiguration
) -> None:
    entry = desk.put(messages.tick(), account="LATER")
    assert entry.outcome.code == PARKED
    later = state_pb2.AccountConfiguration()
    later.CopyFrom(configuration)
    later.account = "LATER"
    desk.steps.append(desk.partition.start_epoch(2, "test", [configuration, later]))
    partition = folded([step.data for step in desk.steps])
    assert partition.account_names() == ["LATER", "PAPER-1"]
    assert partition.inbox_sequence == desk.sequence
