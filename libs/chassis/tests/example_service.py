"""A small service, for the tests: notes in BEADS when it begins and ends each message of INBOX."""

from __future__ import annotations

import asyncio

from kestrel_chassis.consume import PullLoop
from kestrel_chassis.lease import Lease
from kestrel_chassis.service import ServiceContext, main
from kestrel_chassis.settings import ServiceSettings
from kestrel_domain.effects import Publish


class ExampleSettings(ServiceSettings):
    service: str = "kernel"


async def build(context: ServiceContext[ExampleSettings]) -> None:
    lease = Lease(context.bus, "example", context.settings.instance)
    context.closers.append(lambda: lease.release())
    failed: set[int] = set()

    async def note(sequence: int, word: str) -> None:
        await context.bus.publish_until_stored(Publish("bead.signal.A", word.encode(), f"{word}-{sequence}"))

    async def work() -> None:
        nonlocal lease
        if not lease.held:  # at first, or again: the server may go away at any step, and for longer than a lease
            await lease.release()
            lease = Lease(context.bus, "example", context.settings.instance)
            await lease.acquire()
        loop = PullLoop(context.bus, "INBOX", durable="example", ack_wait_s=5.0, batch=1)
        async for (message,) in loop.batches():
            if message.data == b"fail" and message.sequence not in failed:
                failed.add(message.sequence)
                raise ValueError("as asked")
            await note(message.sequence, "begun")
            await asyncio.sleep({b"slow": 0.3, b"stuck": 600.0}.get(message.data, 0.0))
            await note(message.sequence, "ended")
            await loop.ack(message)

    context.supervisor.add("work", work, restart=True)


if __name__ == "__main__":
    main(ExampleSettings, build)
