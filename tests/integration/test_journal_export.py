"""Our books, checked by a stranger: a real server, a real kernel service, and the auditor's program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis.bus import Bus
from kestrel_chassis.journal import read_journal
from kestrel_chassis.journal_file import EntryRecord, JournalFileReader
from kestrel_domain.effects import Publish
from kestrel_domain.identifiers import entry_client_order_id, token_id
from kestrel_domain.numbers import Number
from kestrel_testkit.auditor import Auditor

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("auditor"), pytest.mark.timeout(240)]

ACCOUNT = "PAPER-1"
ACCOUNT_SETTINGS = {
    "account": ACCOUNT,
    "venue": "paper",
    "max_slots": 4,
    "seed_wallet": "1000000.00",
    "taker_fee_rate": "0.0005",
}
INSTRUMENT = common_pb2.Instrument(
    symbol="AAPL", version=1, currency="USD", price_scale=4, qty_scale=0, tick_units=100, lot_units=1, multiplier=1
)
_Seen = TypeVar("_Seen")
_NEVER_NS = 4_000_000_000_000_000_000


@dataclass
class Kernel:
    """The service as it really runs, and the inbox it reads."""

    bus: Bus
    config: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    inputs: int = 0

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "kestrel_kernel", "--config", str(self.config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=30)
            self.process = None

    async def put(self, message: inbox_pb2.InboxMessage) -> None:
        self.inputs += 1
        subject = f"inbox.0.{ACCOUNT}.{message.WhichOneof('body')}"
        effect = Publish(subject, message.SerializeToString(), f"test-{self.inputs}")
        await self.bus.publish_until_stored(effect)

    async def enter(self, trade_id: str) -> str:
        """The entry's client order id."""
        intent = intent_pb2.Intent(
            intent_id=trade_id, account=ACCOUNT, venue="paper", environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=INSTRUMENT, side=common_pb2.SIDE_BUY, order_qty=Number(100, 0).message(),
            order_type=common_pb2.ORDER_TYPE_MARKET, time_in_force=common_pb2.TIME_IN_FORCE_DAY, leverage=1,
            strategy="momentum", attempt=1,
        )  # fmt: skip
        authorized = intent_pb2.AuthorizedIntent(
            intent=intent.SerializeToString(), token="v4.public.token", exit_warrant="v4.public.warrant",
            decision_id="d-1", expires_at_ns=_NEVER_NS,
        )  # fmt: skip
        await self.put(inbox_pb2.InboxMessage(entry=authorized))
        return entry_client_order_id(token_id(trade_id, 1))

    async def leave(self, trade_id: str) -> str:
        """The exit's client order id, as the kernel commanded it."""
        request = intent_pb2.ExitRequest(request_id=f"exit-{trade_id}", account=ACCOUNT, trade_id=trade_id)
        await self.put(inbox_pb2.InboxMessage(exit=request))
        entries = await self.journaled()
        return next(
            str(command.client_order_id)
            for entry in entries
            for command in entry.commands
            if command.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT and command.trade_id == trade_id
        )

    async def fill(self, order_id: str, side: common_pb2.Side.ValueType, qty: int, price: str) -> None:
        fill = venue_pb2.Fill(
            execution_id=f"x-{self.inputs}", client_order_id=order_id, symbol="AAPL", side=side,
            last_qty=Number(qty, 0).message(), last_price=Number.parse(price).message(),
        )  # fmt: skip
        report = venue_pb2.VenueReport(report_id=f"r-{self.inputs}", account=ACCOUNT, venue="paper", fill=fill)
        await self.put(inbox_pb2.InboxMessage(venue=report))

    async def trade(self, trade_id: str) -> None:
        """One trade from entry to exit, filled in parts."""
        order_id = await self.enter(trade_id)
        await self.fill(order_id, common_pb2.SIDE_BUY, 40, "150.30")
        await self.fill(order_id, common_pb2.SIDE_BUY, 60, "150.40")
        await self.fill(await self.leave(trade_id), common_pb2.SIDE_SELL, 100, "151.00")

    async def journaled(self) -> list[journal_pb2.JournalEntry]:
        """The journal, once it holds every input that was put."""

        async def read() -> list[journal_pb2.JournalEntry]:
            return [record.entry async for record in read_journal(self.bus, 0)]

        def is_whole(entries: list[journal_pb2.JournalEntry]) -> bool:
            return sum(each.door in ("entry", "exit", "venue") for each in entries) == self.inputs

        return await _until(read, is_whole, f"{self.inputs} inputs to be journaled; see {self.log}")


async def _until(
    look: Callable[[], Awaitable[_Seen]], is_so: Callable[[_Seen], bool], what: str, timeout_s: float = 60.0
) -> _Seen:
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while not is_so(seen := await look()):
        assert asyncio.get_running_loop().time() < deadline_s, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.05)
    return seen


@pytest.fixture
async def kernel(bus: Bus, nats_server: Any, secrets: Path, tmp_path: Path) -> AsyncIterator[Kernel]:
    config = tmp_path / "kestrel.yaml"  # where `kestrel journal` looks for it, too
    common = {"nats_url": nats_server.url, "secrets_dir": str(secrets), "data_dir": str(tmp_path)}
    common["journal_max_bytes"] = bus.settings.journal_max_bytes
    config.write_text(yaml.safe_dump({"common": common, "kernel": {"accounts": [ACCOUNT_SETTINGS]}}))
    made = Kernel(bus, config, tmp_path / "kernel.log")
    made.start()
    yield made
    made.kill()


async def kestrel(*arguments: object) -> tuple[int, Any, str]:
    """Exit code, the JSON it printed, and what it said on standard error, of a `kestrel journal` command."""
    command = [sys.executable, "-m", "kestrel_cli", "journal", *map(str, arguments), "--json"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=False)
    answer = None
    with contextlib.suppress(ValueError):
        answer = json.loads(done.stdout)
    return done.returncode, answer, " ".join(done.stderr.split())


async def test_a_stranger_checks_what_the_kernel_journaled_K21_C16(
    kernel: Kernel, auditor: Auditor, tmp_path: Path
) -> None:
    await kernel.trade("trade-1")
    kernel.kill()
    kernel.start()
    await kernel.trade("trade-2")
    entries = await kernel.journaled()
    path = tmp_path / "books.kj"

    code, summary, said = await kestrel("export", path, "--data-dir", tmp_path)
    assert code == 0, said
    assert summary["entries"] == len(entries)
    verdict = auditor.check(path, "--json", "--state")
    assert verdict.code == 0, verdict.errors
    digests = {row["sequence"]: row["digest"] for row in verdict.rows if row["record"] == "INPUT"}
    assert digests == {at: each.state_digest.hex() for at, each in enumerate(entries, 1) if each.state_digest}
    end = verdict.rows[-1]
    epochs = {each.epoch for each in entries}  # of two starts; one more where a busy machine let a lease run out
    assert len(epochs) >= 2
    assert (end["epochs"], end["hashed_here"]) == (len(epochs), len(entries))
    (state,) = [row for row in verdict.rows if row["record"] == "STATE"]
    assert [slot["realized_pnl"] for slot in state["slots"]] == ["64.00000000", "64.00000000"]

    code, replayed, said = await kestrel("replay", "--data-dir", tmp_path)
    assert code == 0, said
    assert replayed["accounts"][0]["digest"] == state["digest"]
    await kernel.trade("trade-3")
    await kernel.journaled()
    code, compared, said = await kestrel("diff", path, "--data-dir", tmp_path)
    assert code == 0, said
    assert (compared["compared"], compared["goes_on"]) == (len(entries), "JOURNAL_0")

    middle = _damage(path, len(entries) // 2)
    verdict = auditor.check(path)
    assert verdict.code == 2
    assert f"{path}: entry {middle} (" in verdict.errors
    code, _, said = await kestrel("replay", path)
    assert code == 2
    assert f"entry {middle} (" in said


def _damage(path: Path, sequence: int) -> int:
    """Change one byte of an entry's record; its sequence."""
    with path.open("rb") as file:
        reader = JournalFileReader(file)
        for record in reader:
            if isinstance(record, EntryRecord) and record.sequence == sequence:
                break
            begin = reader.offset
    data = bytearray(path.read_bytes())
    data[begin + 100] ^= 1
    path.write_bytes(data)
    return sequence
