"""Brings the database to the present schema: each SQL file once, in order, in one transaction."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from kestrel_domain.errors import InvariantBroken

if TYPE_CHECKING:
    import asyncpg

LOCK = 0x6B657374
"""Advisory lock, so that two instances starting together migrate one after the other."""


def scripts() -> list[tuple[int, str, str]]:
    """``(version, name, SQL)`` of every migration, in order."""
    folder = resources.files("kestrel_persistence") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name, (folder / name).read_text(encoding="utf-8")) for name in names]


async def migrate(connection: asyncpg.Connection[asyncpg.Record]) -> int:
    """Apply what is missing; the version reached. Raises InvariantBroken when an applied file was changed since."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_versions (version integer PRIMARY KEY, name text NOT NULL,"
            " sha256 bytea NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        applied = {
            line["version"]: line["sha256"]
            for line in await connection.fetch("SELECT version, sha256 FROM schema_versions")
        }
        for version, name, sql in scripts():
            digest = hashlib.sha256(sql.encode()).digest()
            if version not in applied:
                await connection.execute(sql)
                await connection.execute("INSERT INTO schema_versions VALUES ($1, $2, $3)", version, name, digest)
            elif applied[version] != digest:
                raise InvariantBroken(f"migration {name} was changed after it was applied", reason="MIGRATION_CHANGED")
    return scripts()[-1][0]
