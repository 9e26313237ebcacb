"""Wires persistence together: one follower per stream, the checkpointer, the answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial

from kestrel.admin.v1 import persistence_pb2_grpc
from kestrel_chassis.identity import Role
from kestrel_chassis.service import ServiceContext
from kestrel_domain.errors import KestrelError
from kestrel_persistence.config import PersistenceSettings
from kestrel_persistence.core.plan import streams
from kestrel_persistence.shell.api import PersistenceApi
from kestrel_persistence.shell.audit import Audit
from kestrel_persistence.shell.checkpoints import Checkpointer, CheckpointFile, load_key
from kestrel_persistence.shell.database import Database, Position
from kestrel_persistence.shell.follower import Follower, Outage
from kestrel_persistence.shell.shutdown import let_it_end

CLOSE_TIMEOUT_S = 5.0
METHODS = ("ListBeads", "VerifyAudit", "GetTrace", "CountRows", "ListParked", "ListAlerts")


async def build(context: ServiceContext[PersistenceSettings]) -> None:
    """Called once by the chassis, with the bus connected and the streams compared."""
    settings = context.settings
    names = streams(settings.partitions)
    database = Database(settings.dsn, connections_max=settings.database_connections)
    key = load_key(settings.secrets_dir)
    file = CheckpointFile(settings.data_dir / "checkpoints.jsonl")
    checkpointer = Checkpointer(
        database,
        context.bus,
        settings.service,
        file,
        key,
        [name for name in names if name == "BEADS" or name.startswith("JOURNAL_")],
        every_seconds=settings.checkpoint_seconds,
        every_batches=settings.checkpoint_batches,
        clock_ns=time.time_ns,
    )

    def stored(stream: str, position: Position) -> None:
        checkpointer.grew(stream)

    def waits_for(reason: str) -> None:
        if reason:
            context.status.block("database", reason)
        else:
            context.status.unblock("database")

    outage = Outage(context.bus, settings.service, time.time_ns, waits_for, grace_s=settings.database_alert_seconds)
    for name in names:
        follower = Follower(
            name,
            context.bus,
            database,
            context.parking,
            outage,
            batch=settings.batch_messages,
            batch_bytes=settings.batch_bytes,
            stored=stored,
        )
        context.supervisor.add(f"follow {name}", follower.run, restart=True)
    context.supervisor.add("checkpoints", checkpointer.run, restart=True)
    watch = partial(let_it_end, database, settings.dsn, every_s=settings.database_probe_seconds)
    context.supervisor.add("database's end", watch, restart=True)

    async def close() -> None:
        with contextlib.suppress(KestrelError, TimeoutError):  # the next start signs what this one could not
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await checkpointer.sign_all()
        await database.close()

    context.closers.append(close)
    audit = Audit(database, context.bus, file, key.public_key(), names)
    context.admin.add(
        persistence_pb2_grpc.add_PersistenceServiceServicer_to_server,
        PersistenceApi(database, audit),
        roles=dict.fromkeys(METHODS, Role.VIEWER),
    )
