"""Settings: what overlays what, and refusals that name key, value and rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from kestrel.common.v1 import common_pb2
from kestrel_chassis import settings
from kestrel_chassis.settings import ServiceSettings, SettingsInvalid, load, parse, read_file


class Risk(BaseModel):
    orders_max: int = 1


class GatewaySettings(ServiceSettings):
    service: str = "venue-gateway"
    session_count: int = 1
    accounts: list[str] = Field(default_factory=list)
    risk: Risk = Risk()


def make(document: dict[str, Any], **environment: str) -> GatewaySettings:
    return parse(GatewaySettings, document, environment)


def test_own_section_overlays_common_and_the_environment_overlays_both() -> None:
    found = make(
        {
            "common": {"nats_url": "nats://a:1", "replicas": 3},
            "venue-gateway": {"nats_url": "nats://b:1"},
            "kernel": {},
        },
        KESTREL_COMMON__REPLICAS="5",
        KESTREL_VENUE_GATEWAY__SESSION_COUNT="2",
        KESTREL_KERNEL__NATS_URL="nats://other:1",
        KESTREL_CONFIG="elsewhere",
    )
    assert (found.nats_url, found.replicas, found.session_count) == ("nats://b:1", 5, 2)
    assert found.service == "venue-gateway"
    assert found.instance


def test_the_environment_reaches_lists_and_deeper_keys() -> None:
    found = make(
        {"venue-gateway": {"risk": {"orders_max": 2}}},
        KESTREL_VENUE_GATEWAY__ACCOUNTS='["PAPER-1", "PAPER-2"]',
        KESTREL_VENUE_GATEWAY__RISK__ORDERS_MAX="7",
    )
    assert found.accounts == ["PAPER-1", "PAPER-2"]
    assert found.risk.orders_max == 7


def test_an_empty_document_gives_the_defaults_of_a_laptop() -> None:
    found = make({})
    assert (found.environment, found.replicas, found.partitions) == ("paper", 1, 1)
    assert found.environment_value == common_pb2.ENVIRONMENT_PAPER
    assert make({"common": {"environment": "live"}}).environment_value == common_pb2.ENVIRONMENT_LIVE


@pytest.mark.parametrize(
    ("document", "environment", "key", "value"),
    [
        ({"common": {"nats_ulr": "x"}}, {}, "venue-gateway.nats_ulr", "'x'"),
        ({"venue-gateway": {"admin_port": 70000}}, {}, "venue-gateway.admin_port", "70000"),
        ({"common": {"environment": "test"}}, {}, "venue-gateway.environment", "'test'"),
        ({}, {"KESTREL_VENUE_GATEWAY__TYPO": "1"}, "venue-gateway.typo", "'1'"),
        ({}, {"KESTREL_VENUE_GATEWAY__ACCOUNTS": "[1"}, "KESTREL_VENUE_GATEWAY__ACCOUNTS", "'[1'"),
        ({"common": [1]}, {}, "common", "[1]"),
        ({"common": {"instance": "a b"}}, {}, "venue-gateway.instance", "'a b'"),
    ],
)
def test_what_is_wrong_is_refused_with_key_value_and_rule(
    document: dict[str, Any], environment: dict[str, str], key: str, value: str
) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        parse(GatewaySettings, document, environment)
    assert refused.value.field == key
    assert refused.value.value == value
    assert refused.value.rule
    assert f"{key} = {value}: {refused.value.rule}" in str(refused.value)


def test_all_problems_are_told_at_once_and_secrets_are_not_shown() -> None:
    with pytest.raises(SettingsInvalid) as refused:
        make({"common": {"nats_password": ["hunter2"], "replicas": 0}})
    assert "replicas = 0" in str(refused.value)
    assert "nats_password = ***" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_password_is_shown_neither_in_the_settings_nor_in_the_address() -> None:
    found = make(
        {"common": {"nats_url": "nats://user:hunter2@host:1,nats://u:hunter2@b:2", "nats_password": "hunter2"}}
    )
    assert "hunter2" not in repr(found).replace(found.nats_url, "")
    assert found.safe_nats_url == "nats://host:1,nats://b:2"


def test_load_reads_the_file_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kestrel.yaml"
    path.write_text("common: {partitions: 4}\n")
    assert load(GatewaySettings, ["--config", str(path)]).partitions == 4
    monkeypatch.setenv("KESTREL_CONFIG", str(path))
    assert load(GatewaySettings, []).partitions == 4
    path.write_text("")
    assert load(GatewaySettings, []).partitions == 1


def test_load_prints_what_is_wrong_and_leaves_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kestrel.yaml"
    path.write_text("venue-gateway: {session_count: many}\n")
    with pytest.raises(SystemExit) as left:
        load(GatewaySettings, ["--config", str(path)])
    assert left.value.code == 2
    assert "venue-gateway.session_count = 'many'" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["a: [", "- 1\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kestrel.yaml"
    path.write_text(content)
    with pytest.raises(SettingsInvalid):
        read_file(path)
    with pytest.raises(SettingsInvalid):
        read_file(tmp_path / "missing.yaml")


def test_settings_without_a_service_of_their_own_read_the_common_section() -> None:
    assert settings.section_of(ServiceSettings) == "common"
    assert parse(ServiceSettings, {"common": {"service": "x"}}, {}).model_dump()["service"] == "x"
