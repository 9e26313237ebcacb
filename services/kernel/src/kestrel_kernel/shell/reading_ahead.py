"""A long journal is read by a process of its own, while ours applies what has come: each has a core to itself then.

It only brings bytes: each entry's place and its link to the one before are checked by whoever applies it. So nothing
is lost with this process. When it ends early, for whatever reason, the rest is read here.

    python -m kestrel_kernel.shell.reading_ahead      settings and range as JSON on stdin; entries on stdout

It ends with its parent: the pipe that it writes to, and the one that it was asked by, are closed then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import sys
from collections.abc import AsyncGenerator
from typing import IO, Any, NamedTuple

import uvloop

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.settings import ServiceSettings

log = telemetry.logger()

LONG = 50_000
"""From so many entries on it is worth the second that another process needs to start."""

_CHUNK_BYTES = 1 << 18
_AT_ONCE = 256
_HEAD = struct.Struct("=QI")
"""In front of each entry: its sequence and its size."""


class Entry(NamedTuple):
    """One entry as the stream stored it."""

    sequence: int
    data: bytes


async def read(bus: Bus, stream: str, start_sequence: int, last_sequence: int) -> AsyncGenerator[list[Entry], None]:
    """The entries of a journal in their order, some at a time, to its present end; ``last_sequence``: as far as known.

    When they are many, another process reads them.
    """
    if last_sequence - start_sequence >= LONG:
        async with contextlib.aclosing(_ahead(bus.settings, stream, start_sequence, last_sequence)) as ahead:
            async for entries in ahead:
                yield entries
                start_sequence = entries[-1].sequence + 1
    some: list[Entry] = []
    async for message in bus.read(stream, start_sequence=start_sequence):
        some.append(Entry(message.sequence, message.data))
        if len(some) == _AT_ONCE:
            yield some
            some = []
    if some:
        yield some


async def _ahead(
    settings: ServiceSettings, stream: str, start_sequence: int, last_sequence: int
) -> AsyncGenerator[list[Entry], None]:
    request = {
        "settings": settings.model_dump(mode="json", include=set(ServiceSettings.model_fields)),
        "stream": stream,
        "range": [start_sequence, last_sequence],
    }
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", __name__)
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=_CHUNK_BYTES)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(request).encode() + b"\n")
        rest = b""
        while chunk := await child.stdout.read(_CHUNK_BYTES):
            entries, rest = _taken(rest + chunk)
            if entries:
                yield entries
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
        log.info("journal.read_ahead", stream=stream)


def _taken(data: bytes) -> tuple[list[Entry], bytes]:
    """Whole entries, and what is left."""
    entries = []
    at, head_size, size = 0, _HEAD.size, len(data)
    while at + head_size <= size:
        sequence, length = _HEAD.unpack_from(data, at)
        begin = at + head_size
        if begin + length > size:
            break
        at = begin + length
        entries.append(Entry(sequence, data[begin:at]))
    return entries, data[at:]


# --- the other process -----------------------------------------------------------------------------------------------


async def _bring(out: IO[bytes]) -> None:
    loop = asyncio.get_running_loop()
    asked = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    request = json.loads(await asked.readline())
    bringing = asyncio.create_task(_bring_entries(request, out))
    orphaned = asyncio.create_task(asked.read())
    await asyncio.wait((bringing, orphaned), return_when=asyncio.FIRST_COMPLETED)
    bringing.cancel()
    with contextlib.suppress(asyncio.CancelledError, BrokenPipeError, ConnectionResetError):
        await bringing


async def _bring_entries(request: dict[str, Any], to: IO[bytes]) -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, to)
    out = asyncio.StreamWriter(transport, protocol, None, loop)
    first, last = request["range"]
    bus = await Bus.connect(ServiceSettings.model_validate(request["settings"]))
    parts: list[bytes] = []
    size = 0
    async for message in bus.read(request["stream"], start_sequence=first, stop_sequence=last):
        parts += (_HEAD.pack(message.sequence, len(message.data)), message.data)
        size += len(message.data)
        if size >= _CHUNK_BYTES:
            out.write(b"".join(parts))
            await out.drain()
            parts, size = [], 0
    transport.set_write_buffer_limits(high=0)  # from here on drained means written: what follows ends the process
    out.write(b"".join(parts))
    await out.drain()
    out.close()
    await bus.close()


def _main() -> None:
    """Whatever writes to stdout, a log above all, writes to stderr: stdout is the pipe."""
    pipe = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with os.fdopen(pipe, "wb") as out:
        uvloop.run(_bring(out))


if __name__ == "__main__":
    _main()
