"""Consumers by raw requests: made when missing, compared when there, never changed.

nats-py ignores the configuration of a consumer that exists, or overwrites it; both hide a drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kestrel_chassis.messages import ConsumerLost
from kestrel_domain.errors import Refused

if TYPE_CHECKING:
    from kestrel_chassis.bus import Bus

CONSUMER_NOT_FOUND = "JETSTREAM_10014"
_START_FIELDS = frozenset({"deliver_policy", "opt_start_seq"})


def consumer_config(
    name: str,
    *,
    durable: bool,
    ack: str,
    subjects: Sequence[str],
    start_sequence: int | None,
    batch: int,
    ack_wait_s: float,
    max_deliver: int,
    inactive_threshold_s: float | None,
    last_per_subject: bool = False,
) -> dict[str, Any]:
    """What the server is asked for."""
    config: dict[str, Any] = {
        "name": name,
        "ack_policy": ack,
        "deliver_policy": "all",
        "replay_policy": "instant",
        "max_deliver": max_deliver,
    }
    if durable:
        config["durable_name"] = name
    else:
        config |= {"mem_storage": True, "num_replicas": 1}
    if ack != "none":
        config |= {"ack_wait": int(ack_wait_s * 1e9), "max_ack_pending": 4 * batch}
    if last_per_subject:
        config["deliver_policy"] = "last_per_subject"
    elif start_sequence is not None and start_sequence > 1:
        config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": start_sequence}
    if len(subjects) == 1:
        config["filter_subject"] = subjects[0]
    elif subjects:
        config["filter_subjects"] = sorted(subjects)
    if inactive_threshold_s is not None:
        config["inactive_threshold"] = int(inactive_threshold_s * 1e9)
    return config


async def consumer_info(bus: Bus, stream: str, name: str) -> dict[str, Any] | None:
    """The server's description, or None if there is none."""
    try:
        return await bus.api(f"CONSUMER.INFO.{stream}.{name}")
    except Refused as error:
        if error.reason == CONSUMER_NOT_FOUND:
            return None
        if error.reason == "JETSTREAM_10059":
            raise ConsumerLost(f"stream {stream} of consumer {name!r} is gone", field="stream", value=stream) from error
        raise


async def ensure_consumer(bus: Bus, stream: str, config: dict[str, Any]) -> dict[str, Any]:
    """Make the consumer, or find it as wanted. Raises ``Refused`` (CONSUMER_DRIFT) naming what differs."""
    name = config["name"]
    found = await consumer_info(bus, stream, name) if "durable_name" in config else None
    if found is None:
        request = {"stream_name": stream, "config": config, "action": "create"}
        return await bus.api(f"CONSUMER.CREATE.{stream}.{name}", request)
    for key, wanted in config.items():
        actual = found["config"].get(key)
        if key not in _START_FIELDS and actual != wanted:
            raise Refused(
                f"consumer {name!r} of {stream}: {key} is {actual!r}, wanted {wanted!r}",
                reason="CONSUMER_DRIFT",
                field=f"{stream}.{name}.{key}",
                value=actual,
                rule=f"wanted {wanted!r}",
            )
    return found


async def delete_consumer(bus: Bus, stream: str, name: str) -> None:
    """Gone, also if it was gone before."""
    try:
        await bus.api(f"CONSUMER.DELETE.{stream}.{name}", timeout=1.0)
    except Refused as error:
        if error.reason != CONSUMER_NOT_FOUND:
            raise
