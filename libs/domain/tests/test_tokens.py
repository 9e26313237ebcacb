"""Tokens and warrants: genuine, and for these bytes, or refused with a reason."""

import pytest

from kestrel.authority.v1 import authority_pb2
from kestrel_domain import tokens
from kestrel_domain.errors import Refused

INTENT = b"the stored bytes of an intent"
KEY = tokens.SigningKey.generate()
PUBLIC = KEY.verifying_key()


def claims_for(intent: bytes) -> authority_pb2.TokenClaims:
    return authority_pb2.TokenClaims(
        token_id="t-1", intent_id="i-1", attempt=1, intent_sha256=tokens.intent_sha256(intent), expires_at_ns=5
    )


def reason_of(token: str, intent: bytes, key: tokens.VerifyingKey = PUBLIC) -> str:
    with pytest.raises(Refused) as caught:
        tokens.read_token(key, token, stored_intent=intent)
    return caught.value.reason


def test_a_genuine_token_gives_its_claims_back_T03() -> None:
    token = tokens.sign_token(KEY, claims_for(INTENT))
    assert tokens.read_token(PUBLIC, token, stored_intent=INTENT) == claims_for(INTENT)


def test_signing_twice_gives_one_token_T03() -> None:
    assert tokens.sign_token(KEY, claims_for(INTENT)) == tokens.sign_token(KEY, claims_for(INTENT))


def test_no_token_is_refused_by_name_T02() -> None:
    assert reason_of("", INTENT) == "TOKEN_MISSING"


def test_a_token_beside_another_intent_does_not_even_read_T03() -> None:
    assert reason_of(tokens.sign_token(KEY, claims_for(INTENT)), INTENT + b"!") == "TOKEN_INVALID"


def test_a_token_of_another_key_is_refused_T03() -> None:
    other = tokens.SigningKey.generate()
    assert reason_of(tokens.sign_token(other, claims_for(INTENT)), INTENT) == "TOKEN_INVALID"


def test_every_changed_character_breaks_a_token_T03() -> None:
    token = tokens.sign_token(KEY, claims_for(INTENT))
    for place in range(0, len(token), 7):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert reason_of(changed, INTENT) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "garbage", ["x", "v4.public.", "v4.local.AAAA", "v4.public.@@@@", "v4.public.AAAA.BBBB", "é" * 9]
)
def test_garbage_is_refused_and_never_crashes_T03(garbage: str) -> None:
    assert reason_of(garbage, INTENT) == "TOKEN_INVALID"


def test_a_warrant_is_no_token_and_a_token_no_warrant() -> None:
    warrant = tokens.sign_warrant(KEY, authority_pb2.WarrantClaims(warrant_id="w-1", trade_id="i-1"))
    assert tokens.read_warrant(PUBLIC, warrant).trade_id == "i-1"
    assert reason_of(warrant, INTENT) == "TOKEN_INVALID"
    with pytest.raises(Refused) as caught:
        tokens.read_warrant(PUBLIC, tokens.sign_token(KEY, claims_for(INTENT)))
    assert caught.value.reason == "WARRANT_INVALID"
    with pytest.raises(Refused) as caught:
        tokens.read_warrant(PUBLIC, "")
    assert caught.value.reason == "WARRANT_MISSING"
