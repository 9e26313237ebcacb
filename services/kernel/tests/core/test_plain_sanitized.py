"""The reader of venue reports in C, under sanitizers: damaged messages do it no harm, and it says the same with and
without them."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_kernel.core import plain
from kestrel_libkernel._ffi import ffi
from kestrel_libkernel.bindings import INPUT_BYTES
from kestrel_libkernel.reading import Reader

_ROOT = Path(__file__).parents[4]
_LIBRARY = _ROOT / "libkernel"
_SOURCE = _LIBRARY / "python/tests/sanitized_reader.c"
_SANITIZED = ["-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
_MESSAGE_COUNT = 30_000
CONFIGURATION = state_pb2.AccountConfiguration(account="PAPER-1", venue="paper", currency="USD")


def test_damaged_reports_are_read_within_bounds_and_as_without_sanitizers_P11(tmp_path: Path, messages: Any) -> None:
    program = tmp_path / "reader"
    folders = [f"-I{_LIBRARY / 'include'}", f"-I{_LIBRARY / 'python/src/kestrel_libkernel'}"]
    sources = [str(_SOURCE), *map(str, sorted((_LIBRARY / "src").glob("*.c")))]
    subprocess.run(["cc", *_SANITIZED, *folders, *sources, "-o", str(program)], check=True)

    reader = plain.reader(CONFIGURATION)
    damaged = list(_damaged(random.Random(7), list(_sound(messages))))
    asked = _tables(reader) + b"".join(struct.pack("=Q", len(data)) + data for data in damaged)
    may_leak = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}  # it keeps its tables to the end
    run = subprocess.run([str(program)], input=asked, capture_output=True, env=may_leak, timeout=110)
    assert run.returncode == 0, run.stderr.decode(errors="replace")[-4000:]

    answers = memoryview(run.stdout)
    read_count = 0
    for data in damaged:
        value = reader.read(data, now_ns=1000, sequence=7)
        if value is None:
            assert answers[0] == 255
            answers = answers[1:]
            continue
        assert bytes(answers[1 : 1 + INPUT_BYTES]) == value.packed
        answers = answers[1 + INPUT_BYTES :]
        read_count += 1
    assert not answers
    assert 0 < read_count < len(damaged), "some damage leaves a message that can be read"


def _sound(messages: Any) -> Iterator[bytes]:
    buy = common_pb2.SIDE_BUY
    full = messages.fill("E-3", "o-1", buy, "1.500", "150.2500", "0.75")
    full.venue.venue_time_ns = full.venue.received_at_ns = full.venue.venue_watermark = 2**62
    full.venue.fill.venue_order_id = "V-1"
    yield full.SerializeToString()
    yield messages.order("ack-1", venue_pb2.ORDER_FACT_ACKNOWLEDGED, "o-1", "V-1").SerializeToString()
    yield messages.mark("m-1", "151.00").SerializeToString()


def _damaged(chance: random.Random, sound: list[bytes]) -> Iterator[bytes]:
    for _ in range(_MESSAGE_COUNT):
        data = bytearray(chance.choice(sound))
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(4):
                case 0:
                    data[at : at + 1] = bytes([chance.randrange(256)])
                case 1:
                    data[at:at] = chance.randbytes(chance.randrange(12))
                case 2:
                    del data[at : at + chance.randrange(12)]
                case 3:
                    del data[at:]
        yield bytes(data)


def _tables(reader: Reader) -> bytes:
    """What the reader was made of, as the program takes it."""
    parts = [struct.pack("=Q", reader._count)]
    for at, (_, (rows, words, blank)) in enumerate(reader._kept[0]):
        made = reader._readers[at]
        parts.append(struct.pack("=QQ", made.row_count, made.required))
        parts.append(bytes(ffi.buffer(rows)))
        parts.append(struct.pack("=Q", ffi.sizeof(words)) + bytes(ffi.buffer(words)))
        parts.append(bytes(ffi.buffer(blank, INPUT_BYTES)))
    return b"".join(parts)
