"""Every stream and bucket of the platform, as code. One provisioning step makes them; services only compare.

What may never be lost refuses new messages at its limit (``discard: new``), what is only a window drops old ones;
journals and beads cannot be deleted from; no answer comes from a replica that lags (``allow_direct`` false).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kestrel_chassis.bus import Bus
from kestrel_chassis.settings import ServiceSettings
from kestrel_domain import subjects
from kestrel_domain.errors import KestrelError, Refused

SCHEMA_VERSION = "1"
LEASE_TTL_S = 8
DUPLICATE_WINDOW_S = 600
MARKET_BARS_PER_SUBJECT = 10_000
TRUTHS_PER_SUBJECT = 100

_DAY_S = 86_400
_MIB = 1 << 20
_STREAM_NOT_FOUND = "JETSTREAM_10059"
_OWNER_KEY, _SCHEMA_KEY = "kestrel.owner", "kestrel.schema"


@dataclass(frozen=True, slots=True)
class StreamDefinition:
    """One stream. Sizes in bytes, times in seconds; 0 for "no age limit"."""

    name: str
    subjects: tuple[str, ...]
    owner: str
    replicas: int
    max_bytes: int
    max_age_s: int = 0
    discard: str = "new"
    messages_per_subject_max: int = -1
    is_permanent: bool = False
    """Nothing may ever be deleted or purged."""
    duplicate_window_s: int = DUPLICATE_WINDOW_S
    allow_atomic: bool = False
    allow_rollup: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """As the server takes it."""
        return {
            "name": self.name,
            "subjects": list(self.subjects),
            "retention": "limits",
            "storage": "file",
            "num_replicas": self.replicas,
            "discard": self.discard,
            "max_msgs": -1,
            "max_bytes": self.max_bytes,
            "max_age": self.max_age_s * 1_000_000_000,
            "max_msg_size": -1,
            "max_msgs_per_subject": self.messages_per_subject_max,
            "max_consumers": -1,
            "duplicate_window": self.duplicate_window_s * 1_000_000_000,
            "deny_delete": self.is_permanent,
            "deny_purge": self.is_permanent,
            "allow_direct": False,
            "allow_atomic": self.allow_atomic,
            "allow_rollup_hdrs": self.allow_rollup,
            "metadata": {_OWNER_KEY: self.owner, _SCHEMA_KEY: SCHEMA_VERSION},
            **self.extra,
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that is not as wanted; ``found`` is None where the stream is missing."""

    stream: str
    setting: str
    wanted: object
    found: object

    def __str__(self) -> str:
        return f"{self.stream}: {self.setting} is {self.found!r}, wanted {self.wanted!r}"


class StreamsDiffer(Refused):
    """The streams on the server are not those of this version: nothing starts on them."""

    reason = "STREAMS_DIFFER"

    def __init__(self, differences: list[Difference]) -> None:
        first = differences[0]
        super().__init__(
            "; ".join(str(difference) for difference in differences),
            field=f"{first.stream}.{first.setting}",
            value=first.found,
            rule=f"wanted {first.wanted!r}",
        )
        self.differences = differences


def stream_definitions(partitions: int, replicas: int, journal_max_bytes: int) -> list[StreamDefinition]:
    """The streams of the architecture's table."""
    week_s = 7 * _DAY_S
    journals = [
        StreamDefinition(
            subjects.journal_stream(partition),
            (f"journal.{partition}.>",),
            "kernel",
            replicas,
            journal_max_bytes,
            is_permanent=True,
            allow_atomic=True,
        )
        for partition in range(partitions)
    ]
    return [
        StreamDefinition(subjects.INTENTS, ("intent.>",), "policy", replicas, 256 * _MIB, max_age_s=week_s),
        StreamDefinition(subjects.INBOX, ("inbox.>",), "kernel", replicas, 512 * _MIB, max_age_s=week_s),
        *journals,
        StreamDefinition(
            subjects.TRUTH,
            ("truth.>",),
            "venue-gateway",
            replicas,
            256 * _MIB,
            discard="old",
            messages_per_subject_max=TRUTHS_PER_SUBJECT,
        ),
        StreamDefinition(subjects.BEADS, ("bead.>",), "persistence", replicas, journal_max_bytes, is_permanent=True),
        StreamDefinition(
            subjects.ALERTS, ("alert.>",), "all", replicas, 64 * _MIB, max_age_s=30 * _DAY_S, discard="old"
        ),
        StreamDefinition(subjects.PARKED, ("parked.>",), "all", replicas, 256 * _MIB),
        StreamDefinition(
            subjects.MARKET,
            ("market.>",),
            "venue-gateway",
            replicas,
            512 * _MIB,
            discard="old",
            messages_per_subject_max=MARKET_BARS_PER_SUBJECT,
        ),
    ]


def bucket_definitions(replicas: int) -> list[StreamDefinition]:
    """Key-value buckets and the object store, which are streams too."""
    return [
        _bucket(subjects.SPENT_BUCKET, "venue-gateway", replicas, 256 * _MIB),
        _bucket(subjects.FLAGS_BUCKET, "governance", replicas, 16 * _MIB),
        _bucket(subjects.MANDATES_BUCKET, "governance", replicas, 64 * _MIB),
        _bucket(subjects.LEASES_BUCKET, "all", replicas, 16 * _MIB, ttl_s=LEASE_TTL_S),
        StreamDefinition(
            f"OBJ_{subjects.SNAPSHOTS_BUCKET}",
            (f"$O.{subjects.SNAPSHOTS_BUCKET}.C.>", f"$O.{subjects.SNAPSHOTS_BUCKET}.M.>"),
            "kernel",
            replicas,
            512 * _MIB,
            allow_rollup=True,
        ),
    ]


def definitions(settings: ServiceSettings) -> list[StreamDefinition]:
    """Everything that has to exist for these settings."""
    return stream_definitions(settings.partitions, settings.replicas, settings.journal_max_bytes) + bucket_definitions(
        settings.replicas
    )


async def provision(bus: Bus) -> list[str]:
    """Make what is missing; the names of what was made. Changes nothing that exists.

    Raises ``StreamsDiffer`` if something exists otherwise than wanted; what was missing is made all the same.
    """
    made, differences = [], []
    for definition in definitions(bus.settings):
        found = await _found(bus, definition.name)
        if found is None:
            await bus.api(f"STREAM.CREATE.{definition.name}", definition.config(), timeout=10)
            made.append(definition.name)
        else:
            differences += differences_of(definition, found["config"])
    if differences:
        raise StreamsDiffer(differences)
    return made


async def compare(bus: Bus) -> dict[str, str]:
    """When each stream was made, as the server writes it: a stream that was deleted and made anew is another one.

    Raises ``StreamsDiffer`` naming each stream, setting, what is wanted and what was found.
    """
    differences: list[Difference] = []
    made: dict[str, str] = {}
    for definition in definitions(bus.settings):
        found = await _found(bus, definition.name)
        if found is None:
            differences.append(Difference(definition.name, "existence", "provisioned", None))
        else:
            differences += differences_of(definition, found["config"])
            made[definition.name] = str(found["created"])
    if differences:
        raise StreamsDiffer(differences)
    return made


@dataclass(frozen=True, slots=True)
class Sight:
    """A stream as one look found it. ``behind`` names the servers whose replica is away or not current."""

    created: str
    behind: frozenset[str]


async def sight(bus: Bus, name: str, *, timeout_s: float = 5.0) -> Sight | None:
    """Look at a stream; None if there is none. Raises ``Unavailable``."""
    found = await _found(bus, name, timeout_s=timeout_s)
    if found is None:
        return None
    replicas = (found.get("cluster") or {}).get("replicas") or []
    behind = (each["name"] for each in replicas if each.get("offline") or not each.get("current"))
    return Sight(str(found["created"]), frozenset(behind))


def differences_of(definition: StreamDefinition, found: dict[str, Any]) -> list[Difference]:
    """Each setting of ours that the server holds otherwise, and each risky one that somebody added."""
    differences = []
    for setting, wanted in definition.config().items():
        actual = found.get(setting, _ABSENT.get(setting))
        if setting == "metadata":
            ours = {key: (actual or {}).get(key) for key in wanted}
            if ours != wanted:
                differences.append(Difference(definition.name, setting, wanted, ours))
        elif actual != wanted:
            differences.append(Difference(definition.name, setting, wanted, actual))
    for setting, harmless in _NEVER_SET.items():
        if found.get(setting) not in (None, harmless):
            differences.append(Difference(definition.name, setting, harmless, found[setting]))
    return differences


_ABSENT: dict[str, Any] = {
    # What the server leaves out of its answer when it is so.
    "deny_delete": False,
    "deny_purge": False,
    "allow_direct": False,
    "allow_atomic": False,
    "allow_rollup_hdrs": False,
    "max_age": 0,
}
_NEVER_SET: dict[str, Any] = {
    "persist_mode": "default",  # "async" acknowledges before writing
    "sealed": False,
    "no_ack": False,
    "allow_msg_ttl": False,
    "mirror": None,
    "sources": None,
    "discard_new_per_subject": False,
    "allow_msg_counter": False,
}


async def _found(bus: Bus, name: str, *, timeout_s: float = 5.0) -> dict[str, Any] | None:
    try:
        return await bus.api(f"STREAM.INFO.{name}", timeout=timeout_s)
    except KestrelError as error:
        if error.reason == _STREAM_NOT_FOUND:
            return None
        raise


def _bucket(name: str, owner: str, replicas: int, max_bytes: int, *, ttl_s: int = 0) -> StreamDefinition:
    """History 1; markers stay readable; nothing may be deleted but by markers; values can be purged by rollup."""
    return StreamDefinition(
        f"KV_{name}",
        (f"$KV.{name}.>",),
        owner,
        replicas,
        max_bytes,
        max_age_s=ttl_s,
        messages_per_subject_max=1,
        duplicate_window_s=ttl_s or 120,
        allow_rollup=True,
        extra={"deny_delete": True},
    )
