"""Signed statements of how far a chain reached and what its root was.

A checkpoint is kept twice: in the database, and in a file outside it. Whoever can rewrite the whole database, chain
and all, still cannot make a root that agrees with a statement signed before. Checkpoints are not beads: a bead about
the chain would lengthen the chain, and so call for the next one, for ever.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kestrel_domain.errors import InvalidRequest

DOMAIN = "kestrel/checkpoint/v1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``chain`` had ``length`` entries, ``head`` was the last one's hash and ``root`` the Merkle root over all."""

    chain: str
    length: int
    head: bytes
    root: bytes
    signed_at_ns: int
    key_id: str = ""
    signature: bytes = b""

    def statement(self) -> bytes:
        """What is signed. Lines of text, so that a stranger can check one with standard tools."""
        lines = (
            DOMAIN,
            self.chain,
            str(self.length),
            base64.b64encode(self.root).decode(),
            base64.b64encode(self.head).decode(),
            str(self.signed_at_ns),
        )
        return "".join(line + "\n" for line in lines).encode()

    def line(self) -> str:
        """One line of the checkpoint file."""
        fields = {
            "chain": self.chain,
            "length": self.length,
            "head": self.head.hex(),
            "root": self.root.hex(),
            "signed_at_ns": self.signed_at_ns,
            "key_id": self.key_id,
            "signature": self.signature.hex(),
        }
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def of_line(cls, line: str) -> Checkpoint:
        """Read one line of the file. Raises InvalidRequest when it is none: the file was damaged."""
        try:
            fields = json.loads(line)
            return cls(
                chain=str(fields["chain"]),
                length=int(fields["length"]),
                head=bytes.fromhex(fields["head"]),
                root=bytes.fromhex(fields["root"]),
                signed_at_ns=int(fields["signed_at_ns"]),
                key_id=str(fields["key_id"]),
                signature=bytes.fromhex(fields["signature"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRequest.of("checkpoint", line, "one JSON object with its seven fields") from error


def key_id(public: Ed25519PublicKey) -> str:
    """Names a key by its own bytes: 16 hexadecimal digits."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def signed(checkpoint: Checkpoint, private: Ed25519PrivateKey) -> Checkpoint:
    """The same statement with its signature."""
    return Checkpoint(
        checkpoint.chain,
        checkpoint.length,
        checkpoint.head,
        checkpoint.root,
        checkpoint.signed_at_ns,
        key_id(private.public_key()),
        private.sign(checkpoint.statement()),
    )


def is_genuine(checkpoint: Checkpoint, public: Ed25519PublicKey) -> bool:
    """Whether this key signed exactly this statement."""
    if checkpoint.key_id != key_id(public):
        return False
    try:
        public.verify(checkpoint.signature, checkpoint.statement())
    except InvalidSignature:
        return False
    return True
