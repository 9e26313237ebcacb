"""Following the platform's own streams while it runs: what the demo shows comes from the record, not from the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel_cli.demo.events import Line, Totals, read_alert, read_bead, read_entry
from kestrel_domain import subjects

if TYPE_CHECKING:
    from kestrel_chassis.bus import Bus
    from kestrel_chassis.messages import StoredMessage
    from kestrel_cli.demo.screen import Screen

Read = Callable[["StoredMessage", Totals], list[Line]]


async def follow(bus: Bus, screen: Screen, partitions: int) -> None:
    """Show what JOURNAL, BEADS, ALERTS and PARKED say, until cancelled."""
    readers: dict[str, Read] = {subjects.journal_stream(each): _entry for each in range(partitions)}
    readers |= {subjects.BEADS: _bead, subjects.ALERTS: _alert, subjects.PARKED: _parked}
    async with asyncio.TaskGroup() as group:
        for stream, read in readers.items():
            group.create_task(_follow_one(bus, stream, read, screen))


async def _follow_one(bus: Bus, stream: str, read: Read, screen: Screen) -> None:
    from kestrel_chassis.consume import PullLoop

    loop = PullLoop(bus, stream, start_sequence=1, ack="none")
    try:
        async for batch in loop.batches():
            for message in batch:
                screen.add(*_read_safely(read, message, screen.totals))
    finally:
        await asyncio.shield(loop.stop())


def _read_safely(read: Read, message: StoredMessage, totals: Totals) -> list[Line]:
    try:
        return read(message, totals)
    except DecodeError:
        return [Line(message.time_ns, "anomaly", f"{message.stream} {message.sequence} cannot be parsed")]


def _entry(message: StoredMessage, totals: Totals) -> list[Line]:
    return read_entry(journal_pb2.JournalEntry.FromString(message.data), message.time_ns, totals)


def _bead(message: StoredMessage, totals: Totals) -> list[Line]:
    return read_bead(audit_pb2.Bead.FromString(message.data), message.time_ns, totals)


def _alert(message: StoredMessage, totals: Totals) -> list[Line]:
    return read_alert(audit_pb2.Alert.FromString(message.data), message.time_ns, totals)


def _parked(message: StoredMessage, totals: Totals) -> list[Line]:
    parked = audit_pb2.ParkedMessage.FromString(message.data)
    totals.counts["parked"] += 1
    return [Line(message.time_ns, "anomaly", f"parked by {parked.service}: {parked.reason.reason}")]
