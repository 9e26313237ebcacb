"""Streams are made once, compared at start, and never changed by a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kestrel_chassis import provision, streams
from kestrel_chassis.bus import Bus
from kestrel_chassis.streams import StreamDefinition, StreamsDiffer, bucket_definitions, stream_definitions
from kestrel_testkit.servers import NatsServer


def by_name(partitions: int = 1, replicas: int = 1) -> dict[str, StreamDefinition]:
    made = stream_definitions(partitions, replicas, 1 << 30) + bucket_definitions(replicas)
    return {definition.name: definition for definition in made}


def test_every_partition_has_a_journal_and_every_stream_the_replicas() -> None:
    found = by_name(partitions=3, replicas=3)
    assert {"JOURNAL_0", "JOURNAL_1", "JOURNAL_2"} <= set(found)
    assert all(definition.config()["num_replicas"] == 3 for definition in found.values())


@pytest.mark.parametrize("name", ["JOURNAL_0", "BEADS"])
def test_the_record_is_never_deleted_never_aged_and_refuses_when_full(name: str) -> None:
    config = by_name()[name].config()
    assert config["deny_delete"]
    assert config["deny_purge"]
    assert config["max_age"] == 0
    assert config["discard"] == "new"
    assert config["retention"] == "limits"


def test_no_stream_answers_from_a_replica_that_may_lag() -> None:
    assert not any(definition.config()["allow_direct"] for definition in by_name().values())


def test_the_lease_bucket_expires_its_values_and_the_others_keep_them() -> None:
    found = by_name()
    assert found["KV_leases"].config()["max_age"] == 8 * 10**9
    assert all(found[name].config()["max_age"] == 0 for name in ("KV_spent", "KV_flags", "KV_mandates"))


def test_a_setting_that_differs_is_named_with_both_values() -> None:
    definition = by_name()["JOURNAL_0"]
    found: dict[str, Any] = definition.config() | {"max_age": 5, "persist_mode": "async"}
    differences = {difference.setting: difference for difference in streams.differences_of(definition, found)}
    assert set(differences) == {"max_age", "persist_mode"}
    assert str(differences["max_age"]) == "JOURNAL_0: max_age is 5, wanted 0"
    assert streams.differences_of(definition, definition.config()) == []


@pytest.mark.integration
async def test_provisioning_again_makes_nothing_and_compare_agrees(bus: Bus) -> None:
    assert await streams.provision(bus) == []
    await streams.compare(bus)


@pytest.mark.integration
async def test_a_missing_stream_refuses_the_start_and_is_made_by_provisioning(bus: Bus) -> None:
    await bus.api("STREAM.DELETE.MARKET")
    with pytest.raises(StreamsDiffer, match="MARKET: existence is None, wanted 'provisioned'"):
        await streams.compare(bus)
    assert await streams.provision(bus) == ["MARKET"]
    await streams.compare(bus)


@pytest.mark.integration
async def test_a_stream_that_somebody_changed_is_refused_and_left_as_it_is(bus: Bus) -> None:
    config = (await bus.api("STREAM.INFO.INBOX"))["config"]
    await bus.api("STREAM.UPDATE.INBOX", config | {"max_age": 60 * 10**9, "duplicate_window": 60 * 10**9})

    for step in (streams.compare, streams.provision):
        with pytest.raises(StreamsDiffer) as refused:
            await step(bus)
        assert {difference.setting for difference in refused.value.differences} == {"max_age", "duplicate_window"}
        assert refused.value.field in ("INBOX.max_age", "INBOX.duplicate_window")
    assert (await bus.api("STREAM.INFO.INBOX"))["config"]["max_age"] == 60 * 10**9


@pytest.mark.integration
async def test_journals_can_neither_be_purged_nor_deleted_from(bus: Bus) -> None:
    from kestrel_domain.effects import Publish

    await bus.publish(Publish("journal.0.PAPER-1", b"", "one"))
    for call, request in [("PURGE", {}), ("MSG.DELETE", {"seq": 1})]:
        with pytest.raises(Exception, match=r"10110|10057"):
            await bus.api(f"STREAM.{call}.JOURNAL_0", request)
    assert (await bus.stream_state("JOURNAL_0")).messages == 1


@pytest.mark.integration
async def test_the_command_makes_the_streams_and_says_so(
    own_nats_server: NatsServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = provision.ProvisionSettings(nats_url=own_nats_server.url, partitions=2)
    assert await provision.run(settings) == 0
    assert "JOURNAL_1" in capsys.readouterr().out
    assert await provision.run(settings) == 0
    assert "everything was there" in capsys.readouterr().out
    assert await provision.run(settings.model_copy(update={"journal_max_bytes": 1 << 21})) == 1
    assert "JOURNAL_0: max_bytes" in capsys.readouterr().err
