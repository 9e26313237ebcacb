"""Credentials and the secrets of a laptop."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest

from kestrel_chassis.identity import Operator, Role, create_laptop_secrets, issue, verify
from kestrel_domain.errors import Refused
from kestrel_domain.tokens import SigningKey

KEY = SigningKey.generate()
ADA = Operator("ada", frozenset({Role.VIEWER, Role.APPROVER}), expires_at_ns=1000)


def test_a_credential_says_who_it_is() -> None:
    assert verify(KEY.verifying_key().pem, issue(KEY.pem, ADA), now_ns=999) == ADA


def test_roles_are_ordered_for_people_and_held_as_a_set() -> None:
    assert Role.VIEWER < Role.OPERATOR < Role.APPROVER < Role.RISK_OFFICER < Role.ADMIN


@pytest.mark.parametrize(
    ("credential", "now_ns", "reason"),
    [
        ("", 1, "CREDENTIAL_MISSING"),
        ("v4.public.nonsense", 1, "CREDENTIAL_INVALID"),
        (issue(SigningKey.generate().pem, ADA), 1, "CREDENTIAL_INVALID"),
        (issue(KEY.pem, ADA), 1000, "CREDENTIAL_EXPIRED"),
    ],
)
def test_what_is_not_a_living_credential_of_ours_is_refused(credential: str, now_ns: int, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        verify(KEY.verifying_key().pem, credential, now_ns=now_ns)
    assert refused.value.reason == reason


def test_a_token_is_no_credential() -> None:
    from kestrel.authority.v1 import authority_pb2
    from kestrel_domain.tokens import sign_token

    token = sign_token(KEY, authority_pb2.TokenClaims(intent_sha256=b"x" * 32))
    with pytest.raises(Refused, match="not one of ours"):
        verify(KEY.verifying_key().pem, token, now_ns=1)


def test_laptop_secrets_are_made_once_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    create_laptop_secrets(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    create_laptop_secrets(folder)

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert {path.name for path in before} == {
        *("ca.pem", "ca.key", "server.pem", "server.key"),
        *("token-private.pem", "token-public.pem", "operator-private.pem", "operator-public.pem"),
        *("trader.credential", "risk.credential", "admin.credential"),
    }
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_laptop_operators_have_their_roles(secrets: Path) -> None:
    public = (secrets / "operator-public.pem").read_bytes()
    roles = {path.stem: verify(public, path.read_text(), now_ns=1).roles for path in (secrets / "operators").iterdir()}
    assert roles["trader"] == {Role.VIEWER, Role.OPERATOR, Role.APPROVER}
    assert roles["risk"] == roles["trader"] | {Role.RISK_OFFICER}
    assert roles["admin"] == set(Role)


def test_the_certificate_is_signed_by_the_ca(secrets: Path) -> None:
    context = ssl.create_default_context(cafile=str(secrets / "ca.pem"))
    context.load_cert_chain(str(secrets / "server.pem"), str(secrets / "server.key"))
    assert context.get_ca_certs()[0]["subject"][0][0][1] == "Kestrel laptop CA"
