"""The log: what is answered is on disk, a torn end is cut off, a broken middle is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kestrel_domain.errors import InvariantBroken, Unavailable
from kestrel_simulators.log import DurableLog, Record, frame, frames, records

THREE = [frame(Record(kind, kind * 10, b"body" * kind).encoded()) for kind in (1, 2, 3)]


async def written(path: Path, count: int) -> None:
    log = DurableLog(path, lambda mark: None)
    list(log.replay())
    runner = asyncio.create_task(log.run())
    for number in range(count):
        position = log.append(Record(1, number, f"r{number}".encode()), None)
        if number % 3 == 0:
            await log.durable(position)
    await log.durable(log.position)
    runner.cancel()
    await asyncio.gather(runner, return_exceptions=True)
    await log.close()


async def test_what_was_written_is_read_back_in_order(tmp_path: Path) -> None:
    await written(tmp_path / "log", 20)
    log = DurableLog(tmp_path / "log", lambda mark: None)
    assert [record.body for record in log.replay()] == [f"r{number}".encode() for number in range(20)]
    await log.close()


async def test_marks_are_told_only_after_their_records_are_durable(tmp_path: Path) -> None:
    marks: list[object] = []
    log = DurableLog(tmp_path / "log", marks.append)
    log.append(Record(1, 1, b"a"), "first")
    assert marks == []
    runner = asyncio.create_task(log.run())
    await log.durable(1)
    assert marks == ["first"]
    runner.cancel()
    await asyncio.gather(runner, return_exceptions=True)
    await log.close()


async def test_a_log_that_is_closed_in_the_middle_of_a_write_ends_whole_and_is_free(tmp_path: Path) -> None:
    for number in range(20):
        log = DurableLog(tmp_path / "log", lambda mark: None)
        assert len(list(log.replay())) == 2 * number
        runner = asyncio.create_task(log.run())
        log.append(Record(1, number, b"under way"), None)
        await asyncio.sleep(0)
        log.append(Record(1, number, b"behind it"), None)
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        await log.close()


async def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    log = DurableLog(tmp_path / "log", lambda mark: None)
    with pytest.raises(Unavailable, match="another running simulator"):
        DurableLog(tmp_path / "log", lambda mark: None)
    await log.close()


@settings(max_examples=200)
@given(st.integers(0, len(THREE[2]) - 1))
def test_a_torn_last_frame_is_cut_off_at_any_byte(kept: int) -> None:
    data = THREE[0] + THREE[1] + THREE[2][:kept]
    payloads, whole_bytes = frames(data, "log")
    assert len(payloads) == 2
    assert whole_bytes == len(THREE[0]) + len(THREE[1])


@settings(max_examples=200)
@given(st.data())
def test_a_changed_byte_before_the_last_frame_is_refused_loudly(data: st.DataObject) -> None:
    whole = bytearray(b"".join(THREE))
    place = data.draw(st.integers(0, len(THREE[0]) + len(THREE[1]) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvariantBroken, match="corrupted at byte"):
        frames(bytes(whole), "log")


async def test_the_torn_end_is_gone_from_the_file_after_replay(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(THREE[0] + THREE[1][:-1])
    log = DurableLog(path, lambda mark: None)
    assert [record.kind for record in log.replay()] == [1]
    await log.close()
    assert path.read_bytes() == THREE[0]


def test_a_record_that_reaches_beyond_its_frame_is_refused() -> None:
    with pytest.raises(InvariantBroken, match="beyond its frame"):
        list(records(Record(1, 1, b"abc").encoded()[:-1], "log"))
