"""Whose write counts is decided by three servers, not by one (they answer some races differently)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from kestrel_chassis.bus import Bus
from kestrel_chassis.messages import WrongSequence
from kestrel_domain import subjects
from kestrel_domain.errors import OutcomeUnknown, Unavailable
from kestrel_kernel.config import KernelSettings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
async def bus(cluster_bus: Bus) -> Bus:
    return cluster_bus


@pytest.fixture
def settings(bus: Bus, nats_cluster: Any, secrets: Path, tmp_path: Path) -> KernelSettings:
    account = {"account": "PAPER-1", "venue": "paper", "max_slots": 8, "seed_wallet": "1000000.00"}
    return KernelSettings.model_validate(
        {
            "nats_url": nats_cluster.url,
            "replicas": 3,
            "secrets_dir": secrets,
            "data_dir": tmp_path,
            "journal_max_bytes": 64 << 20,
            "accounts": [account],
        }
    )


async def write_as_a_stranger(bus: Bus, journal: Any, epoch: int) -> None:
    """Begin an epoch of somebody else's, as soon as the chain lets us."""
    while epoch not in await journal.epochs():  # it may be there without having been acknowledged
        step = (await journal.replayed()).start_epoch(epoch, "stranger", [])
        with contextlib.suppress(WrongSequence, Unavailable, OutcomeUnknown):
            await bus.publish(step.publish(), expected_last_sequence=step.journal_sequence - 1)


async def test_a_stranger_in_mid_run_costs_an_epoch_and_never_a_second_history(
    start_kernel: Any, bus: Bus, inbox: Any, journal: Any, messages: Any, until: Any
) -> None:
    kernel = start_kernel()

    async def feed() -> None:
        for number in range(120):
            await inbox.put(messages.mark(f"m-{number}", f"{150 + number % 9}.25"))

    feeding = asyncio.create_task(feed())

    async def under_way() -> bool:
        return bool(kernel.served.inbox_sequence > 10)

    await until(under_way, "the kernel is at work")
    await write_as_a_stranger(bus, journal, 30)
    await feeding

    async def complete() -> bool:
        end = (await bus.stream_state(subjects.INBOX)).last_sequence
        return bool(await journal.inputs() == list(range(1, end + 1)))

    await until(complete, "every input is in the journal once")
    await journal.replayed()
    epochs = await journal.epochs()
    assert epochs == sorted(set(epochs))
    assert 30 in epochs
