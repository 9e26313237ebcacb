"""Connections to a running platform: addresses from its data directory, one operator's credential, readable errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from kestrel.common.v1 import common_pb2
from kestrel_cli.errors import NOT_RUNNING, REFUSED, USAGE, CommandFailed, not_running
from kestrel_cli.platform.layout import Endpoints, Layout
from kestrel_cli.platform.lock import holder_of
from kestrel_cli.platform.venues import OUR_PAPER_VENUE, VenueChoice

if TYPE_CHECKING:
    from kestrel_cli.back_doors import BackDoor

TIMEOUT_S = 15.0
_REFUSAL_METADATA = "kestrel-refusal-bin"
_EXIT_CODES = {grpc.StatusCode.INVALID_ARGUMENT: USAGE}
_NEXT_STEPS = {
    grpc.StatusCode.UNAUTHENTICATED: "choose an operator that has a credential: --as trader, --as risk or --as admin",
    grpc.StatusCode.PERMISSION_DENIED: "ask somebody with that role, or choose another credential with --as",
    grpc.StatusCode.NOT_FOUND: "list what there is, and copy the id from there",
    grpc.StatusCode.DEADLINE_EXCEEDED: "what was asked for may still have happened: look before asking again",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "wait a moment and try again",
}
_NEXT_STEPS_BY_REASON = {"FOUR_EYES": "another approver: --as <operator>"}
"""Where the reason says more than the code does."""


@dataclass(slots=True)
class Platform:
    """A running platform as one operator sees it. Stubs are made when first used."""

    layout: Layout
    endpoints: Endpoints
    operator: str
    _channels: dict[str, grpc.Channel] = field(default_factory=dict)

    def stub(self, service: str) -> Any:
        """The admin API of one service."""
        return stub_class(service)(self.channel(service))

    def status_stub(self, service: str) -> Any:
        from kestrel.admin.v1 import status_pb2_grpc

        return status_pb2_grpc.StatusServiceStub(self.channel(service))

    @property
    def venue(self) -> VenueChoice:
        """Where its orders go."""
        return VenueChoice.load(self.layout) or OUR_PAPER_VENUE

    def account(self, named: str) -> str:
        """The account that was named, or the platform's own."""
        return named or self.venue.account

    def back_door(self, door: BackDoor) -> Any:
        """The simulated broker's control calls: what a demo or a test may do to it."""
        if door.port not in self._channels:
            self._channels[door.port] = grpc.insecure_channel(self.endpoints.address(door.port))
        return door.stub(self._channels[door.port])

    def channel(self, service: str) -> grpc.Channel:
        if service not in self._channels:
            from kestrel_chassis import admin

            self._channels[service] = admin.sync_channel(
                self.endpoints.address(service),
                self.layout.secrets / "ca.pem",
                read_credential(self.layout, self.operator),
            )
        return self._channels[service]

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()


@contextmanager
def connect(data_dir: Path, operator: str) -> Iterator[Platform]:
    """The platform of a data directory. Every gRPC error inside becomes a CommandFailed that says what to do next."""
    layout = Layout(data_dir.resolve())
    endpoints = Endpoints.load(layout.endpoints)
    if endpoints is None or holder_of(layout.lock) is None:
        raise not_running(data_dir)
    platform = Platform(layout, endpoints, operator)
    try:
        yield platform
    except grpc.RpcError as error:
        raise explain(error, layout) from error
    finally:
        platform.close()


def read_credential(layout: Layout, operator: str) -> str:
    path = layout.credential(operator)
    try:
        return path.read_text().strip()
    except OSError as error:
        known = sorted(each.stem for each in path.parent.glob("*.credential"))
        raise CommandFailed(
            f"there is no credential for operator {operator!r} in {path.parent}",
            next_step="choose one with --as: " + (", ".join(known) or "none was made yet; run `kestrel up`"),
            code=USAGE,
        ) from error


def explain(error: grpc.RpcError, layout: Layout) -> CommandFailed:
    """A gRPC error in a trader's words: the rule that said no, or that a service does not answer."""
    code: grpc.StatusCode = error.code()
    details = error.details() or code.name
    refusal = refusal_of(error)
    if refusal is None and code is grpc.StatusCode.UNAVAILABLE:
        return CommandFailed(
            f"the service does not answer ({details[:160]})",
            next_step=f"see `kestrel status`; logs are in {layout.logs}",
            code=NOT_RUNNING,
        )
    if refusal is None:
        return CommandFailed(details, next_step=_NEXT_STEPS.get(code, ""), code=_EXIT_CODES.get(code, REFUSED))
    message = f"{refusal.reason}: {refusal.message}"
    if refusal.field and refusal.value not in refusal.message:
        message += f" ({refusal.field} {refusal.value!r})"
    rule = refusal.rule if refusal.rule not in refusal.message else ""
    step = _NEXT_STEPS_BY_REASON.get(refusal.reason) or _NEXT_STEPS.get(code, "")
    return CommandFailed(
        message,
        next_step="; ".join(part for part in (rule and f"the rule: {rule}", step) if part),
        code=_EXIT_CODES.get(code, REFUSED),
    )


def refusal_of(error: grpc.RpcError) -> common_pb2.Refusal | None:
    """The refusal a service sent along in the trailing metadata."""
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == _REFUSAL_METADATA:
            return common_pb2.Refusal.FromString(value)
    return None


def stub_class(service: str) -> Any:
    from kestrel.admin.v1 import (
        governance_pb2_grpc,
        kernel_pb2_grpc,
        persistence_pb2_grpc,
        policy_pb2_grpc,
        reconciler_pb2_grpc,
        venue_gateway_pb2_grpc,
    )

    return {
        "governance": governance_pb2_grpc.GovernanceServiceStub,
        "kernel": kernel_pb2_grpc.KernelServiceStub,
        "persistence": persistence_pb2_grpc.PersistenceServiceStub,
        "policy": policy_pb2_grpc.PolicyServiceStub,
        "reconciler": reconciler_pb2_grpc.ReconcilerServiceStub,
        "venue-gateway": venue_gateway_pb2_grpc.VenueGatewayServiceStub,
    }[service]
