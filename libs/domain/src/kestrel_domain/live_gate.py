"""May a session trade on this account? The gate in front of real money (C10).

    platform is    account is paper              account is anything else
    PAPER          open                          shut: ACCOUNT_ENVIRONMENT
    LIVE           shut: ACCOUNT_ENVIRONMENT     shut: LIVE_GATE_CLOSED, unless every one of these holds:
                                                 the exact confirmation, a promotion, no kill flag in force

Which accounts are paper is the venue's business (``kind_of_ibkr_account``). What cannot be told is never taken for
the milder thing: an unknown environment, an account id out of form, a phrase that is nearly right, flags that cannot
be read, a promotion of something else. A login that reaches both kinds of accounts is refused whatever the platform is:
one wrong field in one order would be real money.

One rule looks milder than it reads, on purpose: kill flags shut the gate for an account that is flat, and never for one
that holds a position or has orders at work. A session that may not connect cannot leave a trade, and the way
out stays open (the flags still block every entry, at the gateway's own gate). Confirmation and promotion are asked for
even then: taking them away is how people say that nothing of ours shall touch the account.

Pure, and asked again at every connection: what was true at the start may not be true after an outage.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2

CONFIRMATION = "I trade real money on account {account} and answer for it"
"""What a person writes into ``live_confirmation``, with the account's id: it cannot be copied to another account."""

_IBKR_ID = re.compile(r"[A-Z][A-Z0-9]{1,31}\Z", re.ASCII)
_IBKR_PAPER = re.compile(r"D[UF][A-Z0-9]{1,30}\Z", re.ASCII)
_MARGIN = " \t\r\n"
"""What a shell or a YAML block leaves around a phrase. Nothing else is forgiven, nor a blank of another alphabet."""


class AccountKind(StrEnum):
    """Whose money moves on an account."""

    PAPER = "paper"
    LIVE = "live"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Promotion:
    """A finished ceremony (T13): two people let an account's strategy out of the shadow."""

    promotion_id: str
    account: str
    strategy: str


@dataclass(frozen=True, slots=True)
class GateQuestion:
    """Everything the answer depends on.

    ``kill_flags`` None: they cannot be read. ``logged_in_accounts``: all that the login reaches, as the venue names
    them; empty while it has not said. ``holds_exposure``: our books have a position, or an order at work.
    """

    account: str
    kind: AccountKind
    environment: common_pb2.Environment.ValueType
    confirmation: str
    promotion: Promotion | None
    kill_flags: authority_pb2.KillFlags | None
    now_ns: int
    logged_in_accounts: tuple[tuple[str, AccountKind], ...] = ()
    holds_exposure: bool = False


def kind_of_ibkr_account(account: str) -> AccountKind:
    """Interactive Brokers names paper accounts DU…, and those of advisors DF…; every other account is real money."""
    if not isinstance(account, str) or not _IBKR_ID.match(account):
        return AccountKind.UNKNOWN
    return AccountKind.PAPER if _IBKR_PAPER.match(account) else AccountKind.LIVE


def ibkr_accounts(accounts: Sequence[str]) -> tuple[tuple[str, AccountKind], ...]:
    """The accounts of a login with their kinds, as a question wants them."""
    return tuple((account, kind_of_ibkr_account(account)) for account in accounts)


def is_confirmed(confirmation: str, account: str) -> bool:
    """Whether the phrase is there, exactly: case, blanks and account. Never true for anything but a text."""
    if not isinstance(confirmation, str) or not account:
        return False
    return confirmation.strip(_MARGIN) == CONFIRMATION.format(account=account)


def check(question: GateQuestion) -> common_pb2.Refusal | None:
    """None: the session may trade. The refusals in their order; the first "no" is the answer."""
    refused = _check_accounts(question)
    if refused is not None or question.environment == common_pb2.ENVIRONMENT_PAPER:
        return refused
    return _check_confirmation(question) or _check_promotion(question) or _check_kill_flags(question)


# --- whose money ---------------------------------------------------------------------------------------------------


def _check_accounts(question: GateQuestion) -> common_pb2.Refusal | None:
    wanted = {
        common_pb2.ENVIRONMENT_PAPER: AccountKind.PAPER,
        common_pb2.ENVIRONMENT_LIVE: AccountKind.LIVE,
    }.get(question.environment)
    if wanted is None:
        return _wrong_account("environment", question.environment, "PAPER or LIVE", "the environment is not known")
    if question.kind is not wanted:
        message = f"account {question.account[:40]!r} is {question.kind.value}, and this platform is {wanted.value}"
        return _wrong_account("account", question.account, f"a {wanted.value} account", message)
    for account, kind in question.logged_in_accounts:
        if kind is not wanted:
            message = f"the login also reaches {account[:40]!r}, which is {kind.value}; this platform is {wanted.value}"
            return _wrong_account("logged_in_accounts", account, f"{wanted.value} accounts only", message)
    named = [account for account, _ in question.logged_in_accounts]
    if named and question.account not in named:
        message = f"the login does not reach account {question.account!r}"
        return _wrong_account("account", question.account, f"one of {', '.join(named)[:200]}", message)
    return None


def _wrong_account(field: str, value: object, rule: str, message: str) -> common_pb2.Refusal:
    return common_pb2.Refusal(
        reason="ACCOUNT_ENVIRONMENT", field=field, value=_shown(value), rule=rule, message=_shown(message)
    )


# --- real money ----------------------------------------------------------------------------------------------------


def _check_confirmation(question: GateQuestion) -> common_pb2.Refusal | None:
    if is_confirmed(question.confirmation, question.account):
        return None
    rule = f"exactly: {CONFIRMATION.format(account=question.account)}"
    return _shut("live_confirmation", question.confirmation, rule, "nobody confirmed that real money may move")


def _check_promotion(question: GateQuestion) -> common_pb2.Refusal | None:
    promotion, rule = question.promotion, f"a promotion of a strategy on account {question.account}"
    if promotion is None:
        return _shut("promotion", "", rule, "no strategy was promoted to trade real money")
    if not promotion.promotion_id or not promotion.strategy or promotion.account != question.account:
        value = f"{promotion.promotion_id} {promotion.strategy} {promotion.account}"
        return _shut("promotion", value, rule, "the promotion is of something else, or names nothing")
    return None


def _check_kill_flags(question: GateQuestion) -> common_pb2.Refusal | None:
    """Any flag in force counts, whatever its scope: live trading does not begin while something is killed."""
    if question.holds_exposure:
        return None
    if question.kill_flags is None:
        return _shut("kill_flags", "", "readable", "the kill flags cannot be read, so they count")
    for flag in question.kill_flags.flags:
        if flag.expires_at_ns == 0 or flag.expires_at_ns > question.now_ns:
            scope = authority_pb2.KillScope.Name(flag.scope) if flag.scope in _SCOPES else str(flag.scope)
            value = f"{scope.removeprefix('KILL_SCOPE_').lower()} {flag.target}".strip()
            return _shut("kill_flags", value, "no kill flag in force", f"killed: {flag.reason or 'no reason given'}")
    return None


def _shut(field: str, value: object, rule: str, message: str) -> common_pb2.Refusal:
    return common_pb2.Refusal(
        reason="LIVE_GATE_CLOSED", field=field, value=_shown(value), rule=rule[:256], message=message
    )


def _shown(value: object) -> str:
    """As a message may carry it: bounded, and with what is no text (half a surrogate pair) spelled out."""
    return str(value)[:256].encode("utf-8", "backslashreplace").decode()


_SCOPES = frozenset(authority_pb2.KillScope.values())
