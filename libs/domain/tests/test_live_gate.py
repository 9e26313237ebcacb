"""The gate in front of real money: shut unless everything is exactly right."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel_domain import live_gate
from kestrel_domain.live_gate import AccountKind, GateQuestion, Promotion

LIVE_ACCOUNT, PAPER_ACCOUNT = "U1234567", "DU1234567"
PHRASE = f"I trade real money on account {LIVE_ACCOUNT} and answer for it"

OPEN = GateQuestion(
    account=LIVE_ACCOUNT,
    kind=AccountKind.LIVE,
    environment=common_pb2.ENVIRONMENT_LIVE,
    confirmation=PHRASE,
    promotion=Promotion("promotion-1", LIVE_ACCOUNT, "momentum"),
    kill_flags=authority_pb2.KillFlags(),
    now_ns=1_000,
    logged_in_accounts=((LIVE_ACCOUNT, AccountKind.LIVE),),
)
PAPER = GateQuestion(
    account=PAPER_ACCOUNT,
    kind=AccountKind.PAPER,
    environment=common_pb2.ENVIRONMENT_PAPER,
    confirmation="",
    promotion=None,
    kill_flags=None,
    now_ns=1_000,
)


def _but(question: GateQuestion, **changed: Any) -> GateQuestion:
    return dataclasses.replace(question, **changed)


def _login(question: GateQuestion, *accounts: str) -> GateQuestion:
    return _but(question, logged_in_accounts=live_gate.ibkr_accounts(accounts))


def _flags(**fields: Any) -> authority_pb2.KillFlags:
    return authority_pb2.KillFlags(flags=[authority_pb2.KillFlag(reason="odd prices", **fields)])


def test_a_paper_account_on_a_paper_platform_needs_nothing_else_C10() -> None:
    assert live_gate.check(PAPER) is None
    assert live_gate.check(_but(PAPER, kill_flags=_flags(scope=1), confirmation="yes")) is None


def test_real_money_moves_when_everything_is_exactly_right_C10() -> None:
    assert live_gate.check(OPEN) is None


@pytest.mark.parametrize(
    ("question", "field", "value", "rule"),
    [
        (_but(PAPER, account=LIVE_ACCOUNT, kind=AccountKind.LIVE), "account", LIVE_ACCOUNT, "a paper account"),
        (_but(OPEN, account=PAPER_ACCOUNT, kind=AccountKind.PAPER), "account", PAPER_ACCOUNT, "a live account"),
        (_but(PAPER, account="du1", kind=AccountKind.UNKNOWN), "account", "du1", "a paper account"),
        (_but(OPEN, account="\ud800", kind=AccountKind.UNKNOWN), "account", "\\ud800", "a live account"),
        (_but(PAPER, environment=common_pb2.ENVIRONMENT_UNSPECIFIED), "environment", "0", "PAPER or LIVE"),
        (_login(PAPER, PAPER_ACCOUNT, LIVE_ACCOUNT), "logged_in_accounts", LIVE_ACCOUNT, "paper accounts only"),
        (_login(OPEN, LIVE_ACCOUNT, PAPER_ACCOUNT), "logged_in_accounts", PAPER_ACCOUNT, "live accounts only"),
        (_login(PAPER, "DU7", "DF8"), "account", PAPER_ACCOUNT, "one of DU7, DF8"),
    ],
)
def test_an_account_that_does_not_fit_the_platform_is_refused_by_field_value_and_rule_C10(
    question: GateQuestion, field: str, value: str, rule: str
) -> None:
    refusal = live_gate.check(question)
    assert refusal is not None
    assert (refusal.reason, refusal.field, refusal.value) == ("ACCOUNT_ENVIRONMENT", field, value)
    assert refusal.rule == rule
    assert refusal.message


@pytest.mark.parametrize(
    "confirmation",
    [
        "", " ", "yes", "YES", "true", "True", "1", "live", "confirm", "I trade real money",
        PHRASE.lower(), PHRASE.upper(), PHRASE + ".", PHRASE + "!", f"'{PHRASE}'", PHRASE.replace(" ", "  ", 1),
        PHRASE.replace(" ", "\u00a0", 1), PHRASE + "\u200b", "\ufeff" + PHRASE, PHRASE + "\u00a0", PHRASE + "\x00",
        PHRASE.replace("a", "\u0430", 1), PHRASE.replace(LIVE_ACCOUNT, "U7654321"),
        PHRASE.replace(LIVE_ACCOUNT, "{account}"), PHRASE + "\ud800", PHRASE + PHRASE,
        PHRASE + "\n" + PHRASE, live_gate.CONFIRMATION,
    ],
)  # fmt: skip
def test_a_phrase_that_is_only_nearly_right_refuses_live_start_C10(confirmation: str) -> None:
    refusal = live_gate.check(_but(OPEN, confirmation=confirmation))
    assert refusal is not None
    assert (refusal.reason, refusal.field) == ("LIVE_GATE_CLOSED", "live_confirmation")
    assert refusal.value == confirmation.encode("utf-8", "backslashreplace").decode()
    assert refusal.rule == f"exactly: {PHRASE}"


@pytest.mark.parametrize("margin", [" ", "\n", "\r\n", "\t"])
def test_what_a_shell_or_a_file_leaves_around_the_phrase_is_forgiven_C10(margin: str) -> None:
    assert live_gate.is_confirmed(margin + PHRASE + margin, LIVE_ACCOUNT)


@pytest.mark.parametrize("confirmation", [True, 1, None, PHRASE.encode(), [PHRASE]])
def test_what_is_no_text_is_never_a_confirmation_C10(confirmation: object) -> None:
    assert not live_gate.is_confirmed(confirmation, LIVE_ACCOUNT)  # type: ignore[arg-type]


def test_no_account_is_no_confirmation_C10() -> None:
    assert not live_gate.is_confirmed(live_gate.CONFIRMATION.format(account=""), "")


@given(st.text(max_size=80))
def test_no_text_but_the_phrase_opens_the_gate_C10(text: str) -> None:
    assume(text.strip(" \t\r\n") != PHRASE)
    assert live_gate.check(_but(OPEN, confirmation=text)) is not None


@pytest.mark.parametrize(
    ("promotion", "value"),
    [
        (None, ""),
        (Promotion("promotion-1", "U7654321", "momentum"), "promotion-1 momentum U7654321"),
        (Promotion("promotion-1", PAPER_ACCOUNT, "momentum"), f"promotion-1 momentum {PAPER_ACCOUNT}"),
        (Promotion("", LIVE_ACCOUNT, "momentum"), f" momentum {LIVE_ACCOUNT}"),
        (Promotion("promotion-1", LIVE_ACCOUNT, ""), f"promotion-1  {LIVE_ACCOUNT}"),
    ],
)
def test_without_a_promotion_of_this_account_live_start_is_refused_C10(promotion: Promotion | None, value: str) -> None:
    refusal = live_gate.check(_but(OPEN, promotion=promotion))
    assert refusal is not None
    assert (refusal.reason, refusal.field, refusal.value) == ("LIVE_GATE_CLOSED", "promotion", value)


@pytest.mark.parametrize("scope", [*authority_pb2.KillScope.values(), 99])
@pytest.mark.parametrize("expires_at_ns", [0, 1_001])
def test_any_kill_flag_in_force_refuses_live_start_of_a_flat_account_C10(scope: int, expires_at_ns: int) -> None:
    flags = _flags(scope=scope, target="X", expires_at_ns=expires_at_ns)
    refusal = live_gate.check(_but(OPEN, kill_flags=flags))
    assert refusal is not None
    assert (refusal.reason, refusal.field) == ("LIVE_GATE_CLOSED", "kill_flags")
    assert refusal.value.endswith("X")
    assert "odd prices" in refusal.message


def test_a_kill_flag_that_has_lapsed_is_none_C10() -> None:
    assert live_gate.check(_but(OPEN, kill_flags=_flags(scope=1, expires_at_ns=1_000))) is None


def test_kill_flags_that_cannot_be_read_count_C10() -> None:
    refusal = live_gate.check(_but(OPEN, kill_flags=None))
    assert refusal is not None
    assert (refusal.field, refusal.rule) == ("kill_flags", "readable")


@pytest.mark.parametrize("flags", [None, _flags(scope=1)])
def test_kill_flags_never_shut_in_who_still_holds_something_C10(flags: authority_pb2.KillFlags | None) -> None:
    """Who may not connect cannot leave: exits pass, whatever is killed."""
    holding = _but(OPEN, kill_flags=flags, holds_exposure=True)
    assert live_gate.check(holding) is None
    for taken_away in ({"confirmation": ""}, {"promotion": None}):
        assert live_gate.check(_but(holding, **taken_away)) is not None


@pytest.mark.parametrize(
    ("account", "kind"),
    [
        ("DU1234567", AccountKind.PAPER),
        ("DUP667958", AccountKind.PAPER),
        ("DF1234567", AccountKind.PAPER),
        ("U1234567", AccountKind.LIVE),
        ("F1234567", AccountKind.LIVE),
        ("I1234567", AccountKind.LIVE),
        ("DX1234567", AccountKind.LIVE),
        ("DU", AccountKind.LIVE),
        ("UDU1234567", AccountKind.LIVE),
        ("du1234567", AccountKind.UNKNOWN),
        (" DU1234567", AccountKind.UNKNOWN),
        ("DU1234567\n", AccountKind.UNKNOWN),
        ("DU12345\u0661", AccountKind.UNKNOWN),
        ("DU1234567,U1", AccountKind.UNKNOWN),
        ("", AccountKind.UNKNOWN),
    ],
)
def test_only_an_id_that_is_certainly_paper_is_paper_C10(account: str, kind: AccountKind) -> None:
    assert live_gate.kind_of_ibkr_account(account) is kind


@given(st.text(max_size=12))
def test_no_account_becomes_paper_by_a_letter_out_of_place_C10(account: str) -> None:
    if live_gate.kind_of_ibkr_account(account) is AccountKind.PAPER:
        assert account.startswith(("DU", "DF"))
        assert account.isascii()
