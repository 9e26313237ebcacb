"""Streams into a real PostgreSQL: once, in order, whatever is poisoned, down or tampered with."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import persistence_samples as samples
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis.bus import Bus
from kestrel_chassis.consumers import consumer_info
from kestrel_chassis.parking import ParkingLane
from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest, InvariantBroken, Unavailable
from kestrel_persistence.core.plan import streams
from kestrel_persistence.core.trace import in_order
from kestrel_persistence.core.verification import Verdict
from kestrel_persistence.shell import queries
from kestrel_persistence.shell.audit import Audit
from kestrel_persistence.shell.checkpoints import Checkpointer, CheckpointFile, load_key
from kestrel_persistence.shell.database import Database, Position
from kestrel_persistence.shell.follower import Follower, Outage
from kestrel_testkit.fixtures import eventually

pytestmark = pytest.mark.integration

STREAMS = streams(1)


class Recorder:
    """Persistence without its process: followers, checkpointer and audit on one bus and one database."""

    def __init__(self, bus: Bus, dsn: str, folder: Path) -> None:
        self.bus = bus
        self.folder = folder
        self.key = load_key(folder)
        self.file = CheckpointFile(folder / "checkpoints.jsonl")
        self.open(dsn)

    def open(self, dsn: str) -> None:
        self.database = Database(dsn)
        self.said: list[str] = []
        self.outage = Outage(self.bus, "persistence", time.time_ns, self.said.append, grace_s=0)
        self.checkpointer = Checkpointer(
            self.database,
            self.bus,
            "persistence",
            self.file,
            self.key,
            ("BEADS", "JOURNAL_0"),
            every_seconds=3600,
            every_batches=10**6,
            clock_ns=time.time_ns,
        )
        parking = ParkingLane(self.bus, "persistence")
        self.followers = {
            name: Follower(
                name,
                self.bus,
                self.database,
                parking,
                self.outage,
                batch=100,
                batch_bytes=1 << 20,
                stored=self._stored,
            )
            for name in STREAMS
        }
        self._tasks: list[asyncio.Task[None]] = []

    def _stored(self, stream: str, position: Position) -> None:
        self.checkpointer.grew(stream)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(one.run(), name=one.stream) for one in self.followers.values()]

    async def stop(self) -> None:
        """As abrupt as a crash, within one process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for follower in self.followers.values():
            await follower.stop()
        await self.database.close()

    async def caught_up(self) -> None:
        async def stored() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()
            for name in STREAMS:
                last = (await self.bus.stream_state(name)).last_sequence
                if (await self.database.position(name)).sequence < last:
                    return False
            return True

        await eventually(stored, "everything is stored", timeout_s=60)

    async def read_by_consumers(self) -> None:
        """More than ``caught_up``, which is so at once where the database has everything already."""

        async def acknowledged() -> bool:
            for name in STREAMS:
                info = await consumer_info(self.bus, name, f"persistence-{name}")
                last = (await self.bus.stream_state(name)).last_sequence
                if info is None or info["ack_floor"]["stream_seq"] < last:
                    return False
            return True

        await eventually(acknowledged, "every stream was delivered to its end", timeout_s=60)

    async def verdicts(self, kind: type[Audit] = Audit) -> list[Verdict]:
        audit = kind(self.database, self.bus, self.file, self.key.public_key(), STREAMS)
        return await audit.verify(patience_seconds=1.0)

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        async with self.database.connection() as connection:
            return await connection.fetch(query, *values)

    async def tamper(self, *statements: str) -> None:
        """As somebody who owns the database would: triggers off, change, triggers on."""
        async with self.database.connection() as connection:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)
            await connection.execute("SET session_replication_role = origin")


@pytest.fixture
async def recorder(bus: Bus, postgres: SimpleNamespace, tmp_path: Path) -> AsyncIterator[Recorder]:
    found = Recorder(bus, postgres.dsn, tmp_path)
    yield found
    await found.stop()


async def publish(bus: Bus, *records: samples.Record) -> None:
    effects = [
        Publish(one.subject, one.data, f"{one.stream}-{one.sequence}-{index}-{one.subject}", samples.TRACEPARENT)
        for index, one in enumerate(records)
    ]
    await bus.publish_all_until_stored(effects)


async def publish_run_of_the_mill(bus: Bus, count: int = 20) -> None:
    """Beads and a chained journal."""
    beads = [
        samples.record("BEADS", "bead.run.PAPER-1", samples.bead(f"bead-{n}", run=samples.run()), n)
        for n in range(count)
    ]
    entries: list[samples.Record] = []
    for sequence in range(1, count + 1):
        previous = entries[-1].data if entries else b""
        fills = [samples.booked_fill(1, f"execution-{sequence}")]
        entry = samples.entry(samples.fill_report(), previous=previous, input_sequence=sequence, fills=fills)
        entries.append(samples.record("JOURNAL_0", "journal.0.PAPER-1", entry, sequence))
    await publish(bus, *beads, *entries)


def problems(verdicts: list[Verdict]) -> dict[str, tuple[int, str]]:
    return {one.name: (one.first_bad_sequence, one.problem) for one in verdicts if one.problem}


async def test_every_kind_of_message_is_stored_and_the_record_is_verified(recorder: Recorder) -> None:
    await publish(recorder.bus, *samples.all_records())
    recorder.start()
    await recorder.caught_up()
    await recorder.checkpointer.sign_all()
    counts = await queries.row_counts(recorder.database)
    assert counts["unusable_messages"] == 0
    assert {table for table, count in counts.items() if count == 0} == {"unusable_messages", "order_events"}
    assert problems(await recorder.verdicts()) == {}


async def test_what_is_stored_while_the_record_is_verified_is_no_fault_of_it_C16(recorder: Recorder) -> None:
    class WhileMoreComesIn(Audit):
        async def _settled_checkpoints(self, patience_seconds: float) -> Any:
            """After it was asked how far the streams are stored, before the chains are walked."""
            late = [
                samples.record("BEADS", "bead.run.PAPER-1", samples.bead(f"late-{n}", run=samples.run()), 100 + n)
                for n in range(5)
            ]
            await publish(recorder.bus, *late)
            await recorder.caught_up()
            await recorder.checkpointer.sign_all()
            return await super()._settled_checkpoints(patience_seconds)

    await publish_run_of_the_mill(recorder.bus)
    recorder.start()
    await recorder.caught_up()
    await recorder.checkpointer.sign_all()
    assert problems(await recorder.verdicts(WhileMoreComesIn)) == {}


async def test_a_row_keeps_money_exact_from_bus_to_database(recorder: Recorder) -> None:
    await publish(recorder.bus, samples.record("JOURNAL_0", "journal.0.PAPER-1", samples.full_entry()))
    recorder.start()
    await recorder.caught_up()
    (fill,) = await recorder.fetch("SELECT last_price::text, fee::text, realized_pnl::text FROM fills")
    assert tuple(fill) == ("100.0100", "1.25", "-1.25")
    (order,) = await recorder.fetch("SELECT status, cum_qty, leaves_qty FROM v_orders")
    assert tuple(order) == ("PARTIALLY_FILLED", 40, 60)
    (position,) = await recorder.fetch("SELECT symbol, qty FROM v_positions")
    assert tuple(position) == ("AAPL", 40)


async def test_what_a_trade_was_entered_with_is_read_from_the_database_alone_K23(recorder: Recorder) -> None:
    intent, decision, entry = samples.intent(), samples.decision(), samples.full_entry()
    decision.intent_sha256 = hashlib.sha256(intent.SerializeToString()).digest()
    entry.commands[0].leverage = 3
    entry.slots[0].exit_leg_bps[:] = [5_000, 10_000]
    entry.account_after.capital.CopyFrom(samples.number(10**14, 8))
    entry.account_after.capital_source = state_pb2.CAPITAL_SOURCE_E_ANCHORED
    entry.account_after.taker_fee.CopyFrom(
        state_pb2.FeeCalibration(
            rate=samples.number(50_000, 8), ratio=samples.number(98_000_000, 8), status=state_pb2.FEE_STATUS_OK
        )
    )
    await publish(
        recorder.bus,
        samples.record("INTENTS", f"intent.{samples.ACCOUNT}", intent),
        samples.record("BEADS", f"bead.decision.{samples.ACCOUNT}", samples.bead("b1", decision=decision)),
        samples.record("JOURNAL_0", f"journal.0.{samples.ACCOUNT}", entry),
    )
    recorder.start()
    await recorder.caught_up()
    (trade,) = await recorder.fetch(
        "SELECT proposer, strategy, decided_by, decision_id, order_qty, reference_price, leverage, exit_leg_bps,"
        " multiplier, capital, capital_source, taker_fee_rate, taker_fee_ratio, fees, realized_pnl, entry_qty"
        " FROM v_trade_parameters WHERE trade_id = 'intent-1'"
    )
    assert dict(trade) == {
        "proposer": None,
        "strategy": "momentum",
        "decided_by": "risk",
        "decision_id": "decision-1",
        "order_qty": 100,
        "reference_price": Decimal("100.0000"),
        "leverage": 3,
        "exit_leg_bps": "5000,10000",
        "multiplier": samples.INSTRUMENT.multiplier,
        "capital": Decimal("1000000"),
        "capital_source": "E_ANCHORED",
        "taker_fee_rate": Decimal("0.0005"),
        "taker_fee_ratio": Decimal("0.98"),
        "fees": Decimal("1.25"),
        "realized_pnl": Decimal("-1.24"),
        "entry_qty": 40,
    }


async def test_a_fill_the_venue_took_back_is_kept_and_counts_no_more(recorder: Recorder) -> None:
    busted = samples.booked_fill()
    busted.is_busted = True
    busted.fee.units, busted.realized_pnl.units = -busted.fee.units, -busted.realized_pnl.units
    first = samples.entry(samples.fill_report(), commands=[samples.command()], fills=[samples.booked_fill()])
    second = samples.entry(samples.fill_report(), previous=first.SerializeToString(), input_sequence=2, fills=[busted])
    await publish(
        recorder.bus,
        samples.record("JOURNAL_0", "journal.0.PAPER-1", first, 1),
        samples.record("JOURNAL_0", "journal.0.PAPER-1", second, 2),
    )
    recorder.start()
    await recorder.caught_up()
    assert len(await recorder.fetch("SELECT 1 FROM fills")) == 2
    (position,) = await recorder.fetch("SELECT qty, realized_pnl, fees FROM v_positions")
    assert tuple(position) == (0, 0, 0)
    (order,) = await recorder.fetch("SELECT cum_qty, status FROM v_orders")
    assert tuple(order) == (0, "PENDING_NEW")


async def test_a_redelivery_of_everything_changes_nothing(recorder: Recorder, postgres: SimpleNamespace) -> None:
    await publish_run_of_the_mill(recorder.bus)
    recorder.start()
    await recorder.caught_up()
    before = await queries.row_counts(recorder.database)
    messages = [samples.Record(m.stream, m.subject, m.sequence, m.time_ns, m.data, m.traceparent)
                async for m in recorder.bus.read("BEADS")]  # fmt: skip

    async def park(record: samples.Record, error: Exception) -> None:
        raise AssertionError(error)

    await recorder.database.store("BEADS", messages, park)
    await recorder.stop()
    for name in STREAMS:  # a new consumer delivers from the beginning again
        await recorder.bus.api(f"CONSUMER.DELETE.{name}.persistence-{name}")
    recorder.open(postgres.dsn)
    recorder.start()
    await publish(recorder.bus, samples.record("ALERTS", "alert.critical.kernel", samples.alert(), 99))
    await recorder.read_by_consumers()
    await recorder.caught_up()
    after = await queries.row_counts(recorder.database)
    assert after == before | {"alerts": 1}
    assert problems(await recorder.verdicts()) == {}


async def test_rows_that_are_there_although_the_position_says_otherwise_stay_and_are_not_doubled(
    recorder: Recorder,
) -> None:
    intents = [samples.record("INTENTS", "intent.PAPER-1", samples.intent(f"i-{n}"), n) for n in range(1, 31)]

    async def park(record: samples.Record, error: Exception) -> None:
        raise AssertionError(error)

    await recorder.database.store("INTENTS", intents[:20], park)
    before = await recorder.fetch("SELECT * FROM intents ORDER BY sequence")
    async with recorder.database.connection() as connection:
        await connection.execute("UPDATE stream_positions SET sequence = 0 WHERE stream = 'INTENTS'")
    position = await recorder.database.store("INTENTS", intents, park)
    after = await recorder.fetch("SELECT * FROM intents ORDER BY sequence")
    assert position.sequence == 30
    assert (len(before), len(after)) == (20, 30)
    assert after[:20] == before


async def test_a_batch_that_is_copied_comes_back_from_the_database_as_it_was(recorder: Recorder) -> None:
    strange = ["\\N", "\\.", "a\tb", "a\nb\r", "\\x00", "'; --", "ü€\U0001f600", " None ", "\x01\x7f"]
    intents = []
    for number, text in enumerate(strange * 3, start=1):
        intent = samples.intent(f"i-{number}")
        intent.strategy = text
        intent.order_qty.CopyFrom(samples.number(-(2**63) + number, 18))
        intents.append(samples.record("INTENTS", "intent.PAPER-1", intent, number))

    async def park(record: samples.Record, error: Exception) -> None:
        raise AssertionError(error)

    await recorder.database.store("INTENTS", intents, park)
    lines = await recorder.fetch("SELECT strategy, order_qty::text, body FROM intents ORDER BY sequence")
    expected = [
        (text, f"-9.{2**63 - number - 9 * 10**18:018}", record.data)
        for number, (text, record) in enumerate(zip(strange * 3, intents, strict=True), start=1)
    ]
    assert [tuple(line) for line in lines] == expected


async def test_what_a_consumer_left_out_is_read_from_the_stream_before_anything_behind_it(recorder: Recorder) -> None:
    await publish_run_of_the_mill(recorder.bus, 9)
    follower = recorder.followers["BEADS"]
    messages = [message async for message in recorder.bus.read("BEADS")]
    await follower._take([messages[0], messages[1]])
    await follower._take([messages[6], messages[8]])
    await follower._take([messages[3]])
    stored = await recorder.fetch("SELECT sequence, chain_sequence FROM beads ORDER BY sequence")
    assert [tuple(line) for line in stored] == [(n, n) for n in range(1, 10)]


async def test_a_row_the_database_refuses_is_parked_with_its_words_and_the_rest_goes_on_P11(
    recorder: Recorder,
) -> None:
    beads = []
    for n in range(1, 41):
        run = samples.run()
        if n in (7, 23):
            run.run_id = "bad\x00id"
        beads.append(samples.record("BEADS", "bead.run.PAPER-1", samples.bead(f"bead-{n}", run=run), n))
    huge = samples.intent("huge")
    huge.instrument.version = 2**32 - 1
    huge.created_at_ns = 2**62
    unreadable = samples.record("INTENTS", "intent.PAPER-1", b"\xff\xff", 2)
    await publish(recorder.bus, *beads, samples.record("INTENTS", "intent.PAPER-1", huge), unreadable)
    recorder.start()
    await recorder.caught_up()
    assert len(await recorder.fetch("SELECT 1 FROM recon_runs")) == 38
    assert [line["sequence"] for line in await recorder.fetch("SELECT sequence FROM beads WHERE kind IS NULL")] == [
        7,
        23,
    ]

    async def all_told() -> bool:
        parked = await recorder.fetch("SELECT 1 FROM parked_messages")
        alerts = await recorder.fetch("SELECT 1 FROM alerts WHERE reason = 'MESSAGE_PARKED'")
        return len(parked) == len(alerts) == 3

    await eventually(all_told, "the refused messages are parked and told, and both is stored")
    parked = await recorder.fetch(
        "SELECT parked_sequence, reason, message FROM parked_messages WHERE parked_stream = 'BEADS'"
    )
    assert {line["parked_sequence"] for line in parked} == {7, 23}
    assert all(line["reason"] == "DATABASE_REFUSED" and "0x00" in line["message"] for line in parked)
    assert len(await recorder.fetch("SELECT 1 FROM unusable_messages")) == 3
    await recorder.checkpointer.sign_all()
    assert problems(await recorder.verdicts()) == {}


async def test_an_unusable_alert_is_recorded_and_does_not_breed_alerts(recorder: Recorder) -> None:
    await publish(recorder.bus, samples.record("ALERTS", "alert.critical.x", samples.alert("bad\x00")))
    await publish(recorder.bus, samples.record("PARKED", "parked.x", b"\xff"))
    recorder.start()
    await recorder.caught_up()
    counts = await queries.row_counts(recorder.database)
    assert (counts["unusable_messages"], counts["alerts"], counts["parked_messages"]) == (2, 0, 0)
    assert (await recorder.bus.stream_state("ALERTS")).last_sequence == 1


async def test_rows_cannot_be_changed_deleted_or_truncated_C16(recorder: Recorder) -> None:
    await publish(recorder.bus, *samples.all_records())
    recorder.start()
    await recorder.caught_up()
    for statement in ("UPDATE beads SET kind = 'x'", "DELETE FROM fills", "TRUNCATE intents"):
        with pytest.raises(asyncpg.RestrictViolationError, match="APPEND_ONLY"):
            await recorder.fetch(statement)


@pytest.mark.parametrize(
    "statements, chain, sequence",
    [
        (["UPDATE beads SET body = body || '\\x1000' WHERE sequence = 5"], "BEADS", 5),
        (["UPDATE beads SET actor = 'mallory' WHERE sequence = 5"], "rows:BEADS", 5),
        (["DELETE FROM beads WHERE sequence = 9"], "BEADS", 9),
        (["DELETE FROM beads WHERE sequence = 20"], "BEADS", 20),
        (
            [
                "CREATE TEMPORARY TABLE t AS SELECT sequence, body FROM beads WHERE sequence IN (3, 4)",
                "UPDATE beads SET body = (SELECT t.body FROM t WHERE t.sequence = 7 - beads.sequence)"
                " WHERE sequence IN (3, 4)",
            ],
            "BEADS",
            3,
        ),
        (["UPDATE recon_runs SET verdict = 'BROKEN' WHERE sequence = 6"], "rows:BEADS", 6),
        (["UPDATE fills SET last_price = 1 WHERE sequence = 12"], "rows:JOURNAL_0", 12),
        (["DELETE FROM fills WHERE sequence = 12"], "rows:JOURNAL_0", 12),
        (
            [
                "CREATE TEMPORARY TABLE forged AS SELECT * FROM fills WHERE sequence = 8",
                "UPDATE forged SET position = 1, execution_id = 'forged'",
                "INSERT INTO fills SELECT * FROM forged",
            ],
            "rows:JOURNAL_0",
            8,
        ),
        (
            [
                "CREATE TEMPORARY TABLE forged AS SELECT * FROM fills WHERE sequence = 8",
                "UPDATE forged SET sequence = 99",
                "INSERT INTO fills SELECT * FROM forged",
            ],
            "rows:JOURNAL_0",
            99,
        ),
        (
            [
                "DELETE FROM recon_runs WHERE sequence = 6",
                "INSERT INTO unusable_messages SELECT stream, sequence, time_ns, trace_id, subject, 'DATABASE_REFUSED',"
                " 'x', body FROM beads WHERE sequence = 6",
            ],
            "rows:BEADS",
            6,
        ),
        (["UPDATE journal_entries SET body = body || '\\x0801' WHERE sequence = 2"], "JOURNAL_0", 2),
        (["DELETE FROM checkpoints WHERE chain = 'BEADS'"], "checkpoints", 0),
    ],
)
async def test_tampering_with_the_database_is_detected_and_located_C16(
    recorder: Recorder, statements: list[str], chain: str, sequence: int
) -> None:
    await publish_run_of_the_mill(recorder.bus)
    recorder.start()
    await recorder.caught_up()
    await recorder.checkpointer.sign_all()
    assert problems(await recorder.verdicts()) == {}
    await recorder.tamper(*statements)
    found = problems(await recorder.verdicts())
    assert found[chain][0] == sequence, found


async def test_truths_that_the_stream_has_dropped_stay_in_the_record_and_are_no_fault(recorder: Recorder) -> None:
    truths = [
        samples.record("TRUTH", f"truth.paper.{account}", samples.truth(), number)
        for number in range(120)
        for account in ("PAPER-1", "PAPER-2")
    ]
    recorder.start()
    await publish(recorder.bus, *truths)
    await recorder.caught_up()
    assert (await recorder.bus.stream_state("TRUTH")).messages == 200
    assert len(await recorder.fetch("SELECT 1 FROM truths")) >= 200
    assert problems(await recorder.verdicts()) == {}


async def test_a_stream_that_was_changed_is_detected_and_located_C16(
    recorder: Recorder, postgres: SimpleNamespace
) -> None:
    await publish_run_of_the_mill(recorder.bus, 6)
    recorder.start()
    await recorder.caught_up()
    await recorder.checkpointer.sign_all()
    await recorder.stop()
    kept = [message async for message in recorder.bus.read("BEADS")]
    config = (await recorder.bus.api("STREAM.INFO.BEADS"))["config"]
    await recorder.bus.api("STREAM.DELETE.BEADS")
    await recorder.bus.api("STREAM.CREATE.BEADS", config)
    for message in kept:
        body = message.data
        if message.sequence == 4:
            body = samples.bead("forged", run=samples.run()).SerializeToString()
        await recorder.bus.publish(Publish(message.subject, body, f"again-{message.sequence}"))
    recorder.open(postgres.dsn)
    found = problems(await recorder.verdicts())
    assert found["BEADS"][0] == 1  # the stream's own time stamps are other ones
    assert "database and stream hold different" in found["BEADS"][1]


async def test_a_database_of_other_streams_is_refused_loudly(recorder: Recorder, postgres: SimpleNamespace) -> None:
    await publish_run_of_the_mill(recorder.bus, 5)
    recorder.start()
    await recorder.caught_up()
    await recorder.stop()
    config = (await recorder.bus.api("STREAM.INFO.BEADS"))["config"]
    await recorder.bus.api("STREAM.DELETE.BEADS")
    await recorder.bus.api("STREAM.CREATE.BEADS", config)
    recorder.open(postgres.dsn)
    with pytest.raises(InvariantBroken, match="belongs to other streams"):
        await recorder.followers["BEADS"].run()


async def test_a_database_built_anew_is_filled_from_the_streams_with_the_same_chain(
    recorder: Recorder, postgres_server: SimpleNamespace
) -> None:
    await publish_run_of_the_mill(recorder.bus)
    recorder.start()
    await recorder.caught_up()
    head = (await recorder.database.position("BEADS")).head
    await recorder.stop()
    dsn = postgres_server.create_database("built_anew")
    recorder.open(dsn)
    recorder.start()
    await recorder.caught_up()
    assert (await recorder.database.position("BEADS")).head == head
    await recorder.stop()
    postgres_server.drop_database("built_anew")


async def test_checkpoints_are_signed_when_something_changed_and_only_then(recorder: Recorder) -> None:
    await publish_run_of_the_mill(recorder.bus, 5)
    recorder.start()
    await recorder.caught_up()
    await recorder.checkpointer.sign_all()
    await recorder.checkpointer.sign_all()
    assert [(one.chain, one.length) for one in recorder.file.read()] == [("BEADS", 5), ("JOURNAL_0", 5)]
    assert len(await recorder.fetch("SELECT 1 FROM checkpoints")) == 2


async def test_a_checkpoint_whose_database_went_away_meanwhile_is_adopted_when_it_is_back(recorder: Recorder) -> None:
    await publish_run_of_the_mill(recorder.bus, 5)
    recorder.start()
    await recorder.caught_up()
    await recorder.fetch(
        "CREATE FUNCTION going_away() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'going away' USING ERRCODE = 'admin_shutdown'; END $$"
    )
    await recorder.fetch("CREATE TRIGGER going_away BEFORE INSERT ON checkpoints EXECUTE FUNCTION going_away()")
    with pytest.raises(Unavailable):
        await recorder.checkpointer.sign_all()
    await recorder.fetch("DROP TRIGGER going_away ON checkpoints")
    assert [one.chain for one in recorder.file.read()] == ["BEADS"]
    await recorder.checkpointer.sign_all()
    assert [(one.chain, one.length) for one in recorder.file.read()] == [("BEADS", 5), ("JOURNAL_0", 5)]
    assert all(verdict.verified for verdict in await recorder.verdicts())


async def test_nothing_is_signed_that_does_not_extend_what_was_signed_before(
    recorder: Recorder, postgres: SimpleNamespace
) -> None:
    await publish_run_of_the_mill(recorder.bus, 5)
    recorder.start()
    await recorder.caught_up()
    await recorder.checkpointer.sign_all()
    await recorder.tamper("UPDATE beads SET chain_hash = sha256(chain_hash) WHERE sequence = 2")
    await recorder.stop()
    recorder.open(postgres.dsn)
    await publish(recorder.bus, samples.record("BEADS", "bead.run.A", samples.bead("more", run=samples.run()), 77))
    recorder.start()
    await recorder.caught_up()
    await recorder.checkpointer.sign_all()
    assert [one.length for one in recorder.file.read() if one.chain == "BEADS"] == [5]
    alert = await recorder.bus.last_message("ALERTS", "alert.critical.persistence")
    assert alert is not None
    assert audit_pb2.Alert.FromString(alert.data).reason == "AUDIT_CHAIN_BROKEN"


async def _publish_one_orders_way(bus: Bus) -> None:
    authorized, ack, fill = (
        samples.authorized(),
        samples.order_report(venue_pb2.ORDER_FACT_ACKNOWLEDGED),
        samples.fill_report(),
    )
    first = samples.entry(authorized, commands=[samples.command()])
    second = samples.entry(ack, previous=first.SerializeToString(), input_sequence=2)
    third = samples.entry(fill, previous=second.SerializeToString(), input_sequence=3, fills=[samples.booked_fill()])
    await publish(
        bus,
        samples.record("BEADS", "bead.signal.PAPER-1", samples.bead("s", signal=samples.signal()), 1),
        samples.record("INTENTS", "intent.PAPER-1", samples.intent()),
        samples.record("BEADS", "bead.decision.PAPER-1", samples.bead("d", decision=samples.decision()), 2),
        samples.record(
            "BEADS",
            "bead.token.PAPER-1",
            samples.bead("t", token=samples.token(authority_pb2.TOKEN_EVENT_KIND_ISSUED)),
            3,
        ),
        samples.record("INBOX", "inbox.0.PAPER-1.entry", authorized, 1),
        samples.record("JOURNAL_0", "journal.0.PAPER-1", first, 1),
        samples.record("INBOX", "inbox.0.PAPER-1.venue", ack, 2),
        samples.record("JOURNAL_0", "journal.0.PAPER-1", second, 2),
        samples.record(
            "BEADS",
            "bead.token.PAPER-1",
            samples.bead("u", token=samples.token(authority_pb2.TOKEN_EVENT_KIND_USED)),
            4,
        ),
        samples.record("INBOX", "inbox.0.PAPER-1.venue", fill, 3),
        samples.record("JOURNAL_0", "journal.0.PAPER-1", third, 3),
        samples.record("BEADS", "bead.run.PAPER-1", samples.bead("r", run=samples.run()), 5),
    )


@pytest.mark.parametrize("asked", [samples.CLIENT_ORDER_ID, samples.CLIENT_ORDER_ID[:8], "intent-1", samples.TRACE_ID])
async def test_one_orders_way_is_found_by_any_of_its_ids_P04(recorder: Recorder, asked: str) -> None:
    await _publish_one_orders_way(recorder.bus)
    recorder.start()
    await recorder.caught_up()
    subject = await queries.find(recorder.database, asked)
    assert (subject.intent_id, subject.client_order_id) == ("intent-1", samples.CLIENT_ORDER_ID)
    hops = in_order(await queries.hops(recorder.database, subject))
    events = {hop.event for hop, _ in hops}
    assert events >= {
        "signal.created",
        "intent.created",
        "intent.stored",
        "intent.decided",
        "token.issued",
        "authorization.stored",
        "order.journaled",
        "order.acknowledged",
        "order.acknowledged.journaled",
        "token.used",
        "fill.executed",
        "fill.received",
        "fill.stored",
        "fill.journaled",
        "row.stored",
        "run.matched",
    }
    assert all(elapsed >= 0 for _, elapsed in hops)


async def test_a_trace_of_nothing_or_of_several_is_refused_by_name(recorder: Recorder) -> None:
    await publish(
        recorder.bus,
        samples.record("INTENTS", "intent.A", samples.intent("intent-1"), 1),
        samples.record("INTENTS", "intent.A", samples.intent("intent-2"), 2),
    )
    recorder.start()
    await recorder.caught_up()
    for asked, reason in (("intent-", "AMBIGUOUS"), ("nothing-like-it", "NOT_FOUND"), ("%%%%%", "NOT_FOUND")):
        with pytest.raises(InvalidRequest) as error:
            await queries.find(recorder.database, asked)
        assert error.value.reason == reason
    assert (await queries.find(recorder.database, "intent-2")).client_order_id == ""


def test_the_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = load_key(tmp_path)
    assert load_key(tmp_path).private_bytes_raw() == first.private_bytes_raw()
    assert (tmp_path / "checkpoint-private.pem").stat().st_mode & 0o077 == 0
    assert isinstance(first, Ed25519PrivateKey)


async def test_the_columns_of_every_row_are_those_of_its_table(recorder: Recorder) -> None:
    await recorder.database.open()
    assert set(recorder.database.tables) >= {"intents", "stream_positions"}
    assert all(table.key for table in recorder.database.tables.values())
    assert subjects.BEADS in STREAMS
