"""Settings of a service: one YAML file, overridden by the environment, checked before anything starts.

File: a ``common:`` section, and one per service name. A service sees the common fields overlaid by its own section.
Environment: ``KESTREL_COMMON__NATS_URL``, ``KESTREL_VENUE_GATEWAY__ADMIN_PORT``; deeper keys by more ``__``. Unknown
keys are refused. The file is named by ``--config PATH`` or ``KESTREL_CONFIG``.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest

COMMON_SECTION = "common"
SERVICE_NAMES = ("kernel", "governance", "venue-gateway", "reconciler", "persistence", "policy")
_PREFIX = "KESTREL_"
_SECRET_WORDS = ("password", "secret", "token", "credential")


def _default_instance() -> str:
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.getpid()}"


class ServiceSettings(BaseModel):
    """What every service has. Each subclass gives ``service`` its name as default, and adds its own fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: str
    instance: str = Field(default_factory=_default_instance, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    environment: Literal["paper", "live"] = "paper"
    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str = ""
    nats_password: str = Field(default="", repr=False)
    replicas: int = Field(default=1, ge=1, le=5)
    partitions: int = Field(default=1, ge=1, le=64)
    journal_max_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """The size at which a journal, or the bead stream, refuses more. Decided once: streams are compared at start."""
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(default=0, ge=0, le=65535)
    health_port: int = Field(default=0, ge=0, le=65535)
    """A second port with gRPC health only, without TLS, for probes that cannot do TLS. 0: none."""
    secrets_dir: Path = Path("secrets")
    data_dir: Path = Path("data")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    otlp_endpoint: str = ""
    trace_sample_ratio: float = Field(default=1.0, ge=0.0, le=1.0)

    @property
    def environment_value(self) -> common_pb2.Environment.ValueType:
        """``environment`` as the contracts spell it."""
        return common_pb2.ENVIRONMENT_LIVE if self.environment == "live" else common_pb2.ENVIRONMENT_PAPER

    @property
    def safe_nats_url(self) -> str:
        """``nats_url`` without a user or password in it."""
        return re.sub(r"//[^@/,]*@", "//", self.nats_url)


Settings = TypeVar("Settings", bound=ServiceSettings)


class SettingsInvalid(InvalidRequest):
    """One or more settings are wrong; the sentence lists each with key, value and rule."""

    reason = "SETTINGS_INVALID"


def load(cls: type[Settings], argv: Sequence[str] | None = None) -> Settings:
    """Read ``--config`` and the environment. Prints what is wrong and leaves with status 2."""
    parser = argparse.ArgumentParser(description=f"Kestrel {section_of(cls)}")
    parser.add_argument("--config", default=os.environ.get(f"{_PREFIX}CONFIG", ""), help="the YAML file of settings")
    arguments = parser.parse_args(argv)
    try:
        document = read_file(Path(arguments.config)) if arguments.config else {}
        return parse(cls, document, os.environ)
    except SettingsInvalid as error:
        print(f"kestrel {section_of(cls)}: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def section_of(cls: type[ServiceSettings]) -> str:
    """The name of the service and of its section."""
    default = cls.model_fields["service"].default
    return default if isinstance(default, str) else COMMON_SECTION


def read_file(path: Path) -> dict[str, Any]:
    """The YAML document. Raises ``SettingsInvalid``."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _invalid(str(path), "", f"cannot be read as YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise _invalid(str(path), document, "a mapping of sections")
    return document


def parse(cls: type[Settings], document: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The settings of one service out of a whole document. Raises ``SettingsInvalid`` naming key, value and rule."""
    section = section_of(cls)
    values: dict[str, Any] = {}
    for name in dict.fromkeys((COMMON_SECTION, section)):
        content = document.get(name)
        if content is not None and not isinstance(content, dict):
            raise _invalid(name, content, "a mapping of settings")
        values |= content or {}
    for name in dict.fromkeys((COMMON_SECTION, section)):
        _overlay(values, name, environment)
    if section != COMMON_SECTION:
        values["service"] = section
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise _readable(section, error) from None


def _overlay(values: dict[str, Any], section: str, environment: Mapping[str, str]) -> None:
    prefix = f"{_PREFIX}{section.replace('-', '_').upper()}__"
    for name in sorted(environment):
        if not name.startswith(prefix):
            continue
        *path, key = name.removeprefix(prefix).lower().split("__")
        target = values
        for step in path:
            inner = target.get(step)
            target[step] = dict(inner) if isinstance(inner, dict) else {}
            target = target[step]
        text = environment[name]
        target[key] = _structured(name, text) if text[:1] in ("[", "{") else text


def _structured(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _invalid(name, text, f"cannot be read as YAML: {error}") from error


def _readable(section: str, error: ValidationError) -> SettingsInvalid:
    problems = []
    for item in error.errors(include_url=False):
        key = ".".join((section, *(str(part) for part in item["loc"])))
        unknown = item["type"] == "extra_forbidden"
        rule = "is not a setting of this service" if unknown else item["msg"]
        problems.append((key, _shown(key, item.get("input")), rule))
    first = problems[0]
    sentence = "; ".join(f"{key} = {value}: {rule}" for key, value, rule in problems)
    return SettingsInvalid(f"settings refused: {sentence}", field=first[0], value=first[1], rule=first[2])


def _shown(key: str, value: object) -> str:
    secret = any(word in key.lower() for word in _SECRET_WORDS)
    return "***" if secret else repr(value)[:120]


def _invalid(key: str, value: object, rule: str) -> SettingsInvalid:
    shown = _shown(key, value)
    return SettingsInvalid(f"settings refused: {key} = {shown}: {rule}", field=key, value=shown, rule=rule)
