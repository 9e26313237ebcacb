"""Signs checkpoints and keeps them twice: in a file of the data directory and in the database."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kestrel.audit.v1 import audit_pb2
from kestrel.common.v1 import common_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_domain import effects, subjects
from kestrel_domain.errors import InvalidRequest, Unavailable
from kestrel_domain.identifiers import derived_id
from kestrel_persistence.core.checkpoint import Checkpoint, is_genuine, signed
from kestrel_persistence.core.merkle import Frontier
from kestrel_persistence.shell.database import Database

log = telemetry.logger()

KEY_NAME = "checkpoint-private.pem"
PUBLIC_KEY_NAME = "checkpoint-public.pem"
READ_AT_ONCE = 5_000


def load_key(secrets_dir: Path) -> Ed25519PrivateKey:
    """The signing key; made on the first start, readable by its owner only. The public half is for verifiers."""
    path = secrets_dir / KEY_NAME
    if not path.exists():
        secrets_dir.mkdir(parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write_private(path, pem)
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)  # type: ignore[assignment]
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidRequest.of("checkpoint key", path.name, "must be an Ed25519 private key in PEM")
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (secrets_dir / PUBLIC_KEY_NAME).write_bytes(public)
    return key


def _write_private(path: Path, pem: bytes) -> None:
    """Whole or not at all: a crash in between must not leave half a key."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class CheckpointFile:
    """One JSON object a line, appended and synced. A damaged line is reported by the verification, never skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, checkpoint: Checkpoint) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(checkpoint.line().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[Checkpoint]:
        """All checkpoints. Raises InvalidRequest for a damaged line; a last line cut off by a crash is left out."""
        if not self._path.exists():
            return []
        lines = self._path.read_bytes().split(b"\n")
        return [Checkpoint.of_line(line.decode(errors="replace")) for line in lines[:-1]]


class Checkpointer:
    """Follows the chains' hashes in the database and signs how far they reach, when something has changed."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        service: str,
        file: CheckpointFile,
        key: Ed25519PrivateKey,
        chains: Iterable[str],
        *,
        every_seconds: float,
        every_batches: int,
        clock_ns: Callable[[], int],
    ) -> None:
        self._database = database
        self._bus = bus
        self._service = service
        self._file = file
        self._key = key
        self._every_seconds = every_seconds
        self._every_batches = every_batches
        self._clock_ns = clock_ns
        self._chains = {chain: _Chain() for chain in chains}
        self._changed = asyncio.Event()
        self._full = asyncio.Event()
        self._unsigned = 0

    def grew(self, stream: str) -> None:
        """Something was stored. Cheap: the work is done later, at most once in ``every_seconds``."""
        if stream in self._chains:
            self._unsigned += 1
            self._changed.set()
            if self._unsigned >= self._every_batches:
                self._full.set()

    async def run(self) -> None:
        """Sign a while after the first change, or sooner when much has changed; sleep when nothing does."""
        while True:
            await self._changed.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_seconds):  # wait_for may lose a cancellation
                    await self._full.wait()
            self._changed.clear()
            self._full.clear()
            self._unsigned = 0
            try:
                await self.sign_all()
            except Unavailable:
                self._changed.set()  # the database is away; the followers have raised the alarm

    async def sign_all(self) -> None:
        """Sign each chain that has grown since its last checkpoint."""
        for name, chain in self._chains.items():
            if not chain.begun:
                await self._begin(name, chain)
            if chain.broken:
                continue
            await self._extend(name, chain)
            if chain.frontier.size > chain.signed_length:
                self._sign(name, chain)
            await self._adopt(chain.not_adopted)
            chain.not_adopted.clear()

    async def _begin(self, name: str, chain: _Chain) -> None:
        """Grow the tree from the database to the last signed length and compare: never sign what does not extend it."""
        earlier = [checkpoint for checkpoint in self._file.read() if checkpoint.chain == name]
        await self._adopt(earlier)
        last = max(earlier, key=lambda checkpoint: checkpoint.length, default=None)
        if last is not None:
            await self._extend(name, chain, stop=last.length)
            extends = chain.frontier.size == last.length and chain.frontier.root() == last.root
            if not extends or not is_genuine(last, self._key.public_key()):
                chain.broken = True
                await self._alarm(name, last)
            chain.signed_length = last.length
        chain.begun = True

    async def _extend(self, name: str, chain: _Chain, *, stop: int | None = None) -> None:
        while stop is None or chain.frontier.size < stop:
            limit = READ_AT_ONCE if stop is None else min(READ_AT_ONCE, stop - chain.frontier.size)
            entries = await entry_hashes(self._database, name, chain.sequence, limit)
            for sequence, entry_hash in entries:
                chain.frontier.append(entry_hash)
                chain.sequence, chain.head = sequence, entry_hash
            if len(entries) < limit:
                return

    def _sign(self, name: str, chain: _Chain) -> None:
        """Into the file first: what is only in the database proves nothing about it."""
        statement = Checkpoint(name, chain.frontier.size, chain.head, chain.frontier.root(), self._clock_ns())
        checkpoint = signed(statement, self._key)
        self._file.append(checkpoint)
        chain.not_adopted.append(checkpoint)
        chain.signed_length = checkpoint.length
        telemetry.count("checkpoints.signed", 1)

    async def _adopt(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Into the database what the file holds already; a second time does no harm."""
        if not checkpoints:
            return
        async with self._database.connection() as connection:
            await connection.executemany(
                "INSERT INTO checkpoints"
                " (chain, chain_length, chain_head, merkle_root, signed_at_ns, key_id, signature)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                [(c.chain, c.length, c.head, c.root, c.signed_at_ns, c.key_id, c.signature) for c in checkpoints],
            )

    async def _alarm(self, name: str, last: Checkpoint) -> None:
        message = (
            f"the chain {name} does not extend its checkpoint over {last.length} entries; run `kestrel audit verify`"
        )
        log.critical("checkpoint.refused", chain=name, length=last.length)
        alert = audit_pb2.Alert(
            alert_id=derived_id("audit-chain-broken", name, last.length),
            severity=common_pb2.SEVERITY_CRITICAL,
            service=self._service,
            reason="AUDIT_CHAIN_BROKEN",
            message=message,
            raised_at_ns=self._clock_ns(),
            subject_id=name,
        )
        await self._bus.publish_until_stored(effects.alert(alert))


class _Chain:
    """Where one chain's tree stands."""

    def __init__(self) -> None:
        self.frontier = Frontier()
        self.sequence = 0
        self.head = b""
        self.signed_length = 0
        # In the file, and not yet in the database: it went away in between.
        self.not_adopted: list[Checkpoint] = []
        self.begun = False
        self.broken = False


async def entry_hashes(database: Database, chain: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    """``(stream sequence, entry hash)`` of a chain's next entries, in stream order."""
    column, table = ("chain_hash", "beads") if chain == subjects.BEADS else ("entry_hash", "journal_entries")
    async with database.connection() as connection:
        lines = await connection.fetch(
            f"SELECT sequence, {column} AS hash FROM {table} WHERE stream = $1 AND sequence > $2"  # noqa: S608 - our names
            " ORDER BY sequence LIMIT $3",
            chain,
            after,
            limit,
        )
    return [(line["sequence"], line["hash"]) for line in lines]
