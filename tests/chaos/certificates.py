"""A certificate authority that issues certificates of seconds."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs one server certificate for the loopback address, as often as asked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self._server_key, self._server_certificate = (
            folder / name for name in ("ca.pem", "server.key", "server.pem")
        )
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        certificate = (
            self._builder(self._name, self._key, _now() + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, *, expires_in_s: int) -> None:
        """Write a key and a certificate that lives so long from now on; less than nothing: one that has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        expires_at = (_now() + datetime.timedelta(seconds=expires_in_s)).replace(microsecond=0)
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            self._builder(name, key, expires_at)
            .add_extension(addresses, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._server_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self._server_certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server_block(self) -> str:
        """What a server's configuration says."""
        return f'tls {{\n  cert_file: "{self._server_certificate}"\n  key_file: "{self._server_key}"\n}}\n'

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, expires_at: datetime.datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_now() - datetime.timedelta(minutes=1))
            .not_valid_after(expires_at)
        )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
