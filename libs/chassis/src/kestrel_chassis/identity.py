"""Who an operator is: a credential (PASETO v4.public) signed by the operator key, with an id, roles and an end.

Also ``create_laptop_secrets``: everything a laptop needs to run the platform as it runs elsewhere.
"""

from __future__ import annotations

import enum
import ipaddress
import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kestrel_domain.errors import Refused
from kestrel_domain.identifiers import checked_id

_ASSERTION = b"kestrel/operator/v1"
_LAPTOP_LIFETIME_DAYS = 365


class Role(enum.IntEnum):
    """What somebody may do. An operator has a *set* of roles; the order is for people to read."""

    VIEWER = 1
    OPERATOR = 2
    APPROVER = 3
    RISK_OFFICER = 4
    ADMIN = 5


@dataclass(frozen=True, slots=True)
class Operator:
    """A person with a credential."""

    id: str
    roles: frozenset[Role]
    expires_at_ns: int


def issue(operator_private_pem: bytes, operator: Operator) -> str:
    """A credential for this operator."""
    import pyseto

    payload = {
        "id": checked_id("operator", operator.id),
        "roles": sorted(role.name.lower() for role in operator.roles),
        "expires_at_ns": operator.expires_at_ns,
    }
    key = pyseto.Key.new(version=4, purpose="public", key=operator_private_pem)
    return pyseto.encode(key, json.dumps(payload).encode(), implicit_assertion=_ASSERTION).decode()


def verify(operator_public_pem: bytes, credential: str, *, now_ns: int) -> Operator:
    """The operator of a genuine credential that has not ended.

    Raises ``Refused`` with reason CREDENTIAL_MISSING, CREDENTIAL_INVALID or CREDENTIAL_EXPIRED.
    """
    import pyseto

    if not credential:
        raise Refused("this call needs an operator's credential", reason="CREDENTIAL_MISSING", field="authorization")
    try:
        key = pyseto.Key.new(version=4, purpose="public", key=operator_public_pem)
        decoded = pyseto.decode(key, credential, implicit_assertion=_ASSERTION)
        payload = decoded.payload if isinstance(decoded.payload, dict) else json.loads(decoded.payload)
        operator = Operator(
            checked_id("operator", payload["id"]),
            frozenset(Role[name.upper()] for name in payload["roles"]),
            int(payload["expires_at_ns"]),
        )
    except (pyseto.PysetoError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            "the credential is not one of ours",
            reason="CREDENTIAL_INVALID",
            field="authorization",
            rule="PASETO v4.public by the operator key",
        ) from error
    if operator.expires_at_ns <= now_ns:
        raise Refused(
            f"the credential of {operator.id!r} has expired",
            reason="CREDENTIAL_EXPIRED",
            field="authorization",
            value=operator.id,
        )
    return operator


# ---------------------------------------------------------------------- secrets of a laptop


def create_laptop_secrets(folder: Path) -> None:
    """Make what is missing: CA, server certificate for localhost, token keys, operator keys, three credentials.

    Files are readable by their owner alone. What exists is kept, so it may be called at every start.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "operators").mkdir(exist_ok=True, mode=0o700)
    if not all((folder / name).exists() for name in ("ca.pem", "server.pem", "server.key")):
        _make_certificates(folder)
    for name in ("token", "operator"):
        if not (folder / f"{name}-private.pem").exists():
            _make_key_pair(folder, name)
    private = (folder / "operator-private.pem").read_bytes()
    for operator_id, roles in _LAPTOP_OPERATORS.items():
        path = folder / "operators" / f"{operator_id}.credential"
        if not path.exists():
            end_ns = time.time_ns() + _LAPTOP_LIFETIME_DAYS * 86_400 * 1_000_000_000
            _write(path, issue(private, Operator(operator_id, roles, end_ns)).encode())


_LAPTOP_OPERATORS = {
    "trader": frozenset({Role.VIEWER, Role.OPERATOR, Role.APPROVER}),
    "risk": frozenset({Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.RISK_OFFICER}),
    "admin": frozenset(Role),
}


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def _make_key_pair(folder: Path, name: str) -> None:
    from kestrel_domain.tokens import SigningKey

    key = SigningKey.generate()
    _write(folder / f"{name}-public.pem", key.verifying_key().pem)
    _write(folder / f"{name}-private.pem", key.pem)


def _make_certificates(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    now = datetime.now(UTC)
    begin, end = now - timedelta(hours=1), now + timedelta(days=_LAPTOP_LIFETIME_DAYS)
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = (
        x509.CertificateBuilder(named("Kestrel laptop CA"), named("Kestrel laptop CA"), ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    server = (
        x509.CertificateBuilder(named("Kestrel laptop CA"), named("localhost"), server_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _write(folder / "ca.key", pem(ca_key))
    _write(folder / "server.key", pem(server_key))
    _write(folder / "server.pem", server.public_bytes(serialization.Encoding.PEM))
    _write(folder / "ca.pem", ca.public_bytes(serialization.Encoding.PEM))
