"""Entry tokens and exit warrants: PASETO v4.public (Ed25519) over protobuf claims.

A token's implicit assertion is the SHA-256 of the stored intent bytes, so a token cannot be read, let alone
accepted, beside any other intent. Signing is deterministic: the same claims give the same token.

Verification here answers "is it genuine, and for these bytes?". Expiry, kill flags, single use and the comparison
with the command are the gateway's (architecture, Authority).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache

import pyseto
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError
from pyseto import Key
from pyseto.key_interface import KeyInterface

from kestrel.authority.v1 import authority_pb2
from kestrel_domain.errors import Refused

TOKEN_LIFETIME_NS = 300 * 1_000_000_000
"""Five minutes (T03)."""

_WARRANT_ASSERTION = b"kestrel/exit-warrant/v1"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half; governance alone has it. It never shows itself in a log or a traceback."""

    pem: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> SigningKey:
        private = Ed25519PrivateKey.generate()
        return cls(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def verifying_key(self) -> VerifyingKey:
        private = serialization.load_pem_private_key(self.pem, password=None)
        return VerifyingKey(
            private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """The public half; everyone may have it."""

    pem: bytes


def intent_sha256(stored_intent: bytes) -> bytes:
    """The hash of the stored bytes. Intents are never serialized again in order to be hashed."""
    return hashlib.sha256(stored_intent).digest()


def sign_token(key: SigningKey, claims: authority_pb2.TokenClaims) -> str:
    return _sign(key, claims.SerializeToString(deterministic=True), claims.intent_sha256)


def read_token(key: VerifyingKey, token: str, *, stored_intent: bytes) -> authority_pb2.TokenClaims:
    """The claims of a genuine token for exactly this intent.

    Raises ``Refused`` with reason TOKEN_MISSING, TOKEN_INVALID (signature, form, or another intent) or
    TOKEN_WRONG_INTENT (signed for these bytes and claiming others).
    """
    if not token:
        raise Refused("an entry needs a token, and this one has none", reason="TOKEN_MISSING", field="token")
    digest = intent_sha256(stored_intent)
    claims = authority_pb2.TokenClaims()
    _read(key, token, digest, claims, "TOKEN_INVALID", "token")
    if claims.intent_sha256 != digest:
        raise Refused("the token was issued for another intent", reason="TOKEN_WRONG_INTENT", field="token")
    return claims


def sign_warrant(key: SigningKey, claims: authority_pb2.WarrantClaims) -> str:
    return _sign(key, claims.SerializeToString(deterministic=True), _WARRANT_ASSERTION)


def read_warrant(key: VerifyingKey, warrant: str) -> authority_pb2.WarrantClaims:
    """The claims of a genuine warrant. Raises ``Refused`` with reason WARRANT_MISSING or WARRANT_INVALID."""
    if not warrant:
        raise Refused("an exit needs its trade's warrant", reason="WARRANT_MISSING", field="exit_warrant")
    claims = authority_pb2.WarrantClaims()
    _read(key, warrant, _WARRANT_ASSERTION, claims, "WARRANT_INVALID", "exit_warrant")
    return claims


def _sign(key: SigningKey, payload: bytes, assertion: bytes) -> str:
    return pyseto.encode(_key(key.pem), payload, implicit_assertion=assertion).decode()


@lru_cache(maxsize=8)  # reading a key takes as long as signing with it
def _key(pem: bytes) -> KeyInterface:
    return Key.new(version=4, purpose="public", key=pem)


def _read(
    key: VerifyingKey,
    token: str,
    assertion: bytes,
    claims: authority_pb2.TokenClaims | authority_pb2.WarrantClaims,
    reason: str,
    field: str,
) -> None:
    try:
        decoded = pyseto.decode(_key(key.pem), token, implicit_assertion=assertion)
        if not isinstance(decoded.payload, bytes):
            raise ValueError("payload is not bytes")
        claims.ParseFromString(decoded.payload)
    except (pyseto.PysetoError, ValueError, DecodeError) as error:
        raise Refused(
            "the signature does not hold for this content",
            reason=reason,
            field=field,
            rule="PASETO v4.public by governance's key",
        ) from error
