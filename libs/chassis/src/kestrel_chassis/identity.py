"""Who is calling: operators' credentials, roles, and the secrets of a laptop.

A credential is a PASETO v4.public token signed by the operator key: an operator's id, roles and expiry. Every admin
call carries one; a service checks it with the public half. Nothing about the caller is ever taken from a request body.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

import pyseto
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyseto import Key

from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.identifiers import checked_id
from kestrel_domain.tokens import SigningKey, VerifyingKey

_ASSERTION = b"kestrel/operator-credential/v1"
_LIFETIME_DAYS = 365


class Role(StrEnum):
    """What an operator may do. An operator holds a set of them; ADMIN holds all."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    RISK_OFFICER = "risk_officer"
    ADMIN = "admin"


LAPTOP_OPERATORS: dict[str, frozenset[Role]] = {
    "trader": frozenset({Role.VIEWER, Role.OPERATOR, Role.APPROVER}),
    "risk": frozenset({Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.RISK_OFFICER}),
    "admin": frozenset({Role.ADMIN}),
}
"""Who a laptop knows. Two people re-arm: ``risk`` and ``admin``; on a laptop both may be you, on a desk they are not."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An authenticated caller."""

    id: str
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        return role in self.roles or Role.ADMIN in self.roles


def issue_credential(key: SigningKey, operator_id: str, roles: Iterable[Role], *, expires_at_ns: int) -> str:
    claims = {
        "operator": checked_id("operator", operator_id),
        "roles": sorted(str(role) for role in roles),
        "expires_at_ns": expires_at_ns,
    }
    return pyseto.encode(
        Key.new(version=4, purpose="public", key=key.pem), json.dumps(claims).encode(), implicit_assertion=_ASSERTION
    ).decode()


def read_credential(key: VerifyingKey, credential: str, *, now_ns: int) -> Operator:
    """The operator behind a credential. Raises ``Refused`` CREDENTIAL_INVALID or CREDENTIAL_EXPIRED."""
    try:
        decoded = pyseto.decode(
            Key.new(version=4, purpose="public", key=key.pem), credential, implicit_assertion=_ASSERTION
        )
        claims = json.loads(decoded.payload)
        operator = Operator(str(claims["operator"]), frozenset(Role(role) for role in claims["roles"]))
        expires_at_ns = int(claims["expires_at_ns"])
    except (pyseto.PysetoError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            "the credential is not one of ours", reason="CREDENTIAL_INVALID", field="authorization"
        ) from error
    if expires_at_ns <= now_ns:
        raise Refused(
            f"the credential of {operator.id} has expired", reason="CREDENTIAL_EXPIRED", field="authorization"
        )
    return operator


@dataclass(frozen=True, slots=True)
class Secrets:
    """Where the secrets of an installation lie. Every file is readable by its owner only."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def server_certificate(self) -> Path:
        return self.folder / "server.pem"

    @property
    def server_key(self) -> Path:
        return self.folder / "server.key"

    def token_signing_key(self) -> SigningKey:
        """Governance's; nobody else's deployment holds the file."""
        return SigningKey(_read(self.folder / "token-private.pem"))

    def token_verifying_key(self) -> VerifyingKey:
        return VerifyingKey(_read(self.folder / "token-public.pem"))

    def operator_verifying_key(self) -> VerifyingKey:
        return VerifyingKey(_read(self.folder / "operator-public.pem"))

    def credential(self, operator_id: str) -> str:
        path = self.folder / "operators" / f"{checked_id('operator', operator_id)}.credential"
        return _read(path).decode().strip()

    def operators(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "operators").glob("*.credential"))


def create_laptop_secrets(folder: Path) -> Secrets:
    """Make what is missing: a certificate authority, a certificate for this machine, keys and three operators."""
    secrets = Secrets(folder)
    (folder / "operators").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not secrets.server_key.exists():
        _create_certificates(secrets)
    for name in ("token", "operator"):
        if not (folder / f"{name}-private.pem").exists():
            key = SigningKey.generate()
            _write(folder / f"{name}-public.pem", key.verifying_key().pem)
            _write(folder / f"{name}-private.pem", key.pem)
    operator_key = SigningKey(_read(folder / "operator-private.pem"))
    expires_at_ns = time.time_ns() + _LIFETIME_DAYS * 86_400 * 1_000_000_000
    for operator_id, roles in LAPTOP_OPERATORS.items():
        path = folder / "operators" / f"{operator_id}.credential"
        if not path.exists():
            _write(path, issue_credential(operator_key, operator_id, roles, expires_at_ns=expires_at_ns).encode())
    return secrets


def _create_certificates(secrets: Secrets) -> None:
    now = datetime.now(UTC)
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Kestrel laptop authority")])
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=_LIFETIME_DAYS))
        )

    authority = builder(ca_name, ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    server = builder(server_name, server_key).add_extension(names, critical=False)
    pem = serialization.Encoding.PEM
    _write(secrets.ca, authority.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    _write(secrets.server_certificate, server.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    _write(
        secrets.server_key,
        server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest.of("secrets_dir", path, f"must be a readable file ({error.strerror})") from error


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and for the owner only."""
    temporary = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
