"""Where a journal is read from: an exported file, or the stream of a running platform."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kestrel_chassis.journal_file import Header, JournalFileReader, Record
from kestrel_cli.errors import USAGE, CommandFailed, not_running
from kestrel_cli.journal.records import Recorder, header
from kestrel_cli.platform.layout import Layout

if TYPE_CHECKING:
    from kestrel_chassis.bus import Bus

_PAUSE_RECORDS = 64


@dataclass(frozen=True, slots=True)
class Source:
    """Records, in order, with how far reading has come."""

    name: str
    header: Header
    records: AsyncIterator[tuple[Record, int]]
    """Each with the work done so far, in the unit of ``total``."""
    total: int
    is_live: bool = False


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Source]:
    """An exported file. ``JournalFileDamaged`` when its beginning is not one, or while it is read."""
    try:
        size = path.stat().st_size
        file = path.open("rb")
    except OSError as error:
        raise CommandFailed(
            f"{path} cannot be read: {error.strerror}", next_step="name a file of `kestrel journal export`", code=USAGE
        ) from error
    with file:
        reader = JournalFileReader(file, str(path))
        yield Source(str(path), reader.header, _file_records(reader), size)


async def _file_records(reader: JournalFileReader) -> AsyncIterator[tuple[Record, int]]:
    for place, record in enumerate(reader):
        if place % _PAUSE_RECORDS == 0:
            await asyncio.sleep(0)  # reading a file never waits, and Ctrl-C is heard only by who waits
        yield record, reader.offset


@contextlib.asynccontextmanager
async def connected(layout: Layout) -> AsyncIterator[Bus]:
    """The stream's server, by the configuration in the data directory."""
    from kestrel_cli.platform.buses import connected_bus, quiet_libraries
    from kestrel_domain.errors import Unavailable

    quiet_libraries()
    if not layout.config.exists():
        raise not_running(layout.root)
    async with contextlib.AsyncExitStack() as stack:
        try:
            bus = await stack.enter_async_context(connected_bus(layout))
        except (OSError, TimeoutError, Unavailable) as error:
            problem = f"the NATS server of {layout.root} does not answer ({str(error)[:160] or 'no answer in time'})"
            raise not_running(layout.root, problem) from error
        yield bus


async def live(bus: Bus, partition: int, *, until: int | None = None, account: str = "") -> Source:
    """The journal of a partition from its first entry to the present end, or to ``until``."""
    from kestrel_domain import subjects
    from kestrel_domain.errors import Refused

    stream = subjects.journal_stream(partition)
    try:
        last = (await bus.stream_state(stream)).last_sequence
    except Refused as error:
        raise CommandFailed(
            f"there is no journal of partition {partition}", next_step="choose one with --partition", code=USAGE
        ) from error
    last = last if until is None else min(last, until)
    return Source(
        stream, header(partition, account=account), _live_records(bus, partition, last, account), last, is_live=True
    )


async def _live_records(bus: Bus, partition: int, last: int, account: str) -> AsyncIterator[tuple[Record, int]]:
    from kestrel_chassis.journal import read_journal

    recorder = Recorder(account)
    async with contextlib.aclosing(read_journal(bus, partition)) as entries:  # type: ignore[type-var]
        async for entry in entries:
            if entry.sequence > last:
                return
            if entry.sequence % _PAUSE_RECORDS == 0:
                await asyncio.sleep(0)
            for record in recorder.records(entry.sequence, entry.data):
                yield record, entry.sequence
