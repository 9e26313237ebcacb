"""Starts governance: `python -m kestrel_governance --config kestrel.yaml`."""

from __future__ import annotations

from kestrel.admin.v1 import governance_pb2_grpc
from kestrel_chassis import telemetry
from kestrel_chassis.service import ServiceContext, main
from kestrel_domain.errors import Refused
from kestrel_domain.tokens import SigningKey
from kestrel_governance.config import Settings
from kestrel_governance.shell.admin import ROLES, GovernanceServicer
from kestrel_governance.shell.governor import Governor


async def build(context: ServiceContext[Settings]) -> None:
    """Wire the governor to the bus and to its gRPC service."""
    governor = Governor(context, _signing_key(context.settings))
    limits = context.settings.limits()
    telemetry.logger().info("risk.configured", sha256=limits.sha256.hex(), **context.settings.risk.model_dump())
    context.admin.add(
        governance_pb2_grpc.add_GovernanceServiceServicer_to_server,
        GovernanceServicer(context.bus, limits, lambda: governor.tenure, context.requests),
        ROLES,
    )
    context.supervisor.add("governor", governor.run, restart=True)


def _signing_key(settings: Settings) -> SigningKey:
    """Governance alone has it. Raises ``Refused`` when it is missing or no key at all: the service does not start."""
    path = settings.secrets_dir / "token-private.pem"
    try:
        key = SigningKey(path.read_bytes())
        key.verifying_key()
    except (OSError, ValueError) as error:
        raise Refused(
            f"cannot read the token key {path}: {error}",
            reason="SECRET_MISSING",
            field="secrets_dir",
            value=path,
            rule="a PEM file with governance's private Ed25519 key",
        ) from error
    return key


if __name__ == "__main__":
    main(Settings, build)
