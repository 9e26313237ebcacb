"""Lets the database end when it was asked to.

PostgreSQL that gets SIGTERM waits until the last of its clients has gone, lets nobody new in meanwhile, and tells its
clients nothing. Whoever stays connected for as long as he runs keeps it in that state, in which nobody else can read.
"""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg

from kestrel_chassis import telemetry
from kestrel_persistence.shell.database import DATABASE_FAULTS, Database

TIMEOUT_S = 5.0


async def let_it_end(database: Database, dsn: str, *, every_s: float) -> None:
    """Ask now and then whether somebody new is let in; if not, let go. Storing goes on once the database is back."""
    while True:
        await asyncio.sleep(every_s)
        if await is_ending(dsn):
            telemetry.logger().warning("database.ending")
            await database.close()


async def is_ending(dsn: str) -> bool:
    """It answers, and lets nobody in: it shuts down, or starts. One that does not answer says nothing."""
    try:
        connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S)
    except asyncpg.CannotConnectNowError:
        return True
    except DATABASE_FAULTS:
        return False
    with contextlib.suppress(*DATABASE_FAULTS):
        await connection.close(timeout=TIMEOUT_S)
    return False
