"""Every refusal of the last gate, by name, one spoiled thing at a time (T02, T03, T06, T07)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel_domain import tokens
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MINUTE_NS, SECOND_NS
from kestrel_venue_gateway.core import admission
from kestrel_venue_gateway.core.admission import FlagsRead
from kestrel_venue_gateway.core.traits import STRONG, Traits

Spoil = Callable[[Any], None]
NOTHING = Number(0, 0)
KEY_PEM = tokens.SigningKey.generate().verifying_key().pem


def verdict(desk: Any, command: journal_pb2.VenueCommand, flags: FlagsRead | None = None) -> str:
    no = admission.check_entry(desk.gate, command, admission.read_papers(desk.gate, command), flags or desk.flags())
    return no.reason if no is not None else "ADMITTED"


def setting(name: str, value: object) -> Spoil:
    """Sets one field, ``a.b`` within ``a``."""

    def spoil(message: Any) -> None:
        *path, last = name.split(".")
        for part in path:
            message = getattr(message, part)
        setattr(message, last, value)

    return spoil


def test_entry_with_all_its_papers_is_admitted_T02(desk: Any) -> None:
    assert verdict(desk, desk.entry()) == "ADMITTED"


def test_market_entry_without_a_price_is_admitted(desk: Any) -> None:
    intent = desk.intent()
    intent.order_type = common_pb2.ORDER_TYPE_MARKET
    intent.ClearField("price")
    assert verdict(desk, desk.entry(intent)) == "ADMITTED"


def test_quantity_at_another_scale_is_the_same_quantity(desk: Any) -> None:
    command = desk.entry()
    command.order_qty.CopyFrom(common_pb2.Decimal(units=1000, scale=2))
    assert verdict(desk, command) == "ADMITTED"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (setting("token", ""), "TOKEN_MISSING"),
        (setting("token", "v4.public.bm90aGluZw"), "TOKEN_INVALID"),
        (setting("token", "rubbish"), "TOKEN_INVALID"),
        (setting("intent", b"\xff\xff\xff"), "INTENT_INVALID"),
        (setting("intent", b""), "INTENT_INVALID"),
        (setting("expires_at_ns", 0), "COMMAND_EXPIRED"),
        (setting("client_order_id", "ks" + "a" * 26), "COMMAND_MISMATCH"),
        (setting("client_order_id", "somebody-elses"), "COMMAND_MISMATCH"),
        (setting("trade_id", "intent-2"), "COMMAND_MISMATCH"),
        (setting("account", "PAPER-2"), "COMMAND_MISMATCH"),
        (setting("venue", "other"), "COMMAND_MISMATCH"),
        (setting("environment", common_pb2.ENVIRONMENT_LIVE), "COMMAND_MISMATCH"),
        (setting("strategy", "other"), "COMMAND_MISMATCH"),
        (setting("instrument.symbol", "MSFT"), "COMMAND_MISMATCH"),
        (setting("instrument.multiplier", 100), "COMMAND_MISMATCH"),
        (setting("instrument.currency", "EUR"), "COMMAND_MISMATCH"),
        (setting("side", common_pb2.SIDE_SELL), "COMMAND_MISMATCH"),
        (setting("side", 17), "COMMAND_MISMATCH"),
        (setting("order_qty.units", 11), "COMMAND_MISMATCH"),
        (setting("order_qty.units", 0), "COMMAND_INVALID"),
        (setting("order_qty.units", -10), "COMMAND_INVALID"),
        (setting("order_qty.scale", 19), "INVALID"),
        (setting("order_type", common_pb2.ORDER_TYPE_MARKET), "COMMAND_MISMATCH"),
        (setting("price.units", 1_015_001), "COMMAND_MISMATCH"),
        (lambda command: command.ClearField("price"), "COMMAND_MISMATCH"),
        (setting("time_in_force", common_pb2.TIME_IN_FORCE_GTC), "COMMAND_MISMATCH"),
        (setting("leverage", 3), "COMMAND_MISMATCH"),
    ],
)
def test_entry_whose_command_differs_from_what_was_approved_is_refused_by_name_T02(
    desk: Any, spoil: Spoil, reason: str
) -> None:
    command = desk.entry()
    spoil(command)
    assert verdict(desk, command) == reason


def _change(command: journal_pb2.VenueCommand, name: str) -> None:
    """Another value in one field."""
    field = journal_pb2.VenueCommand.DESCRIPTOR.fields_by_name[name]
    value = getattr(command, name)
    if field.message_type is common_pb2.Decimal.DESCRIPTOR:
        value.units += 1
    elif field.message_type is common_pb2.Instrument.DESCRIPTOR:
        value.symbol += "X"
    elif isinstance(value, int):
        setattr(command, name, value - 1 if name != "expires_at_ns" else 1)
    else:
        setattr(command, name, value[:-1] + (b"\x7f" if isinstance(value, bytes) else "_"))


NOT_TERMS_OF_AN_ENTRY = {
    "kind",  # decides which list of refusals it is
    "venue_order_id",  # nobody has one yet
    "exit_warrant",
    "open_qty",
    "reason",
}
"""Fields of a command that an entry may carry anything in."""


@pytest.mark.parametrize("name", sorted(journal_pb2.VenueCommand.DESCRIPTOR.fields_by_name))
def test_no_field_of_an_entry_can_be_changed_or_cleared_unnoticed_T02(desk: Any, name: str) -> None:
    # Only a bracket has a group.
    changed, cleared = (desk.bracket()[0], desk.bracket()[0]) if name == "group" else (desk.entry(), desk.entry())
    cleared.ClearField(name)
    _change(changed, name)
    refused = {verdict(desk, command) != "ADMITTED" for command in (changed, cleared)}
    assert refused == ({False} if name in NOT_TERMS_OF_AN_ENTRY else {True})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (setting("intent_id", "intent-2"), "TOKEN_WRONG_INTENT"),
        (setting("attempt", 2), "TOKEN_WRONG_INTENT"),
        (setting("token_id", "other"), "TOKEN_WRONG_INTENT"),
        (setting("account", "PAPER-2"), "TOKEN_WRONG_INTENT"),
        (setting("venue", "other"), "TOKEN_WRONG_INTENT"),
        (setting("anchor.hash", "other"), "TOKEN_WRONG_INTENT"),
        (setting("anchor.as_of_ns", 1), "TOKEN_WRONG_INTENT"),
        (setting("environment", common_pb2.ENVIRONMENT_LIVE), "TOKEN_ENVIRONMENT"),
        (setting("expires_at_ns", 0), "TOKEN_EXPIRED"),
    ],
)
def test_token_whose_claims_are_not_this_intents_is_refused_by_name_T03(desk: Any, spoil: Spoil, reason: str) -> None:
    assert verdict(desk, desk.entry(spoil_claims=spoil)) == reason


def test_token_of_another_intent_does_not_read_here_TOKEN_WRONG_INTENT(desk: Any) -> None:
    command = desk.entry()
    command.token = desk.entry(desk.intent("intent-2")).token
    assert verdict(desk, command) == "TOKEN_INVALID"


def test_token_claiming_other_bytes_than_it_was_signed_with_is_refused_TOKEN_WRONG_INTENT(desk: Any) -> None:
    # Signed with the right assertion, by the right key, over claims that name another hash.
    intent = desk.intent()
    claims = desk.claims(intent)
    claims.intent_sha256 = b"\x00" * 32
    command = desk.entry(intent)
    command.token = tokens._sign(
        desk.key, claims.SerializeToString(deterministic=True), tokens.intent_sha256(command.intent)
    )
    assert verdict(desk, command) == "TOKEN_WRONG_INTENT"


def test_token_by_another_key_is_refused(desk: Any) -> None:
    command = desk.entry()
    command.token = tokens.sign_token(tokens.SigningKey.generate(), desk.claims(desk.intent()))
    assert verdict(desk, command) == "TOKEN_INVALID"


@pytest.mark.parametrize(("after_ns", "reason"), [(-1, "ADMITTED"), (0, "TOKEN_EXPIRED"), (1, "TOKEN_EXPIRED")])
def test_token_ends_at_the_nanosecond_it_says_TOKEN_EXPIRED(desk: Any, after_ns: int, reason: str) -> None:
    command = desk.entry()
    command.expires_at_ns = desk.now_ns + 3600 * SECOND_NS
    now_ns = desk.now_ns + 299 * SECOND_NS + after_ns
    assert verdict(desk, command, FlagsRead(True, b"", now_ns)) == reason


@pytest.mark.parametrize(("ahead_ns", "reason"), [(5 * SECOND_NS, "ADMITTED"), (5 * SECOND_NS + 1, "TOKEN_INVALID")])
def test_clock_that_is_behind_the_signers_by_no_more_than_the_margin_changes_nothing(
    desk: Any, ahead_ns: int, reason: str
) -> None:
    assert desk.gate.clock_skew_ns_max == 5 * SECOND_NS
    assert verdict(desk, desk.entry(spoil_claims=setting("issued_at_ns", desk.now_ns + ahead_ns))) == reason


def test_token_from_the_future_is_refused(desk: Any) -> None:
    assert verdict(desk, desk.entry(spoil_claims=setting("issued_at_ns", desk.now_ns + MINUTE_NS))) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    ("age_ns", "reason"),
    [
        (0, "ADMITTED"),
        (15 * MINUTE_NS, "ADMITTED"),
        (15 * MINUTE_NS + 1, "STATE_CONFLICT"),
        (-5 * SECOND_NS, "ADMITTED"),
        (-5 * SECOND_NS - 1, "STATE_CONFLICT"),
    ],
)
def test_decision_on_an_old_state_is_a_state_conflict_STALE_APPROVAL_T06(desk: Any, age_ns: int, reason: str) -> None:
    intent = desk.intent()
    intent.anchor.as_of_ns = desk.now_ns - age_ns
    assert verdict(desk, desk.entry(intent)) == reason


def test_decision_on_a_state_of_unknown_age_is_a_state_conflict_T06(desk: Any) -> None:
    intent = desk.intent()
    intent.ClearField("anchor")
    assert verdict(desk, desk.entry(intent)) == "STATE_CONFLICT"


@given(st.binary(max_size=64), st.binary(max_size=64), st.text(max_size=64))
def test_no_bytes_at_all_are_a_permission(intent: bytes, flags: bytes, token: str) -> None:
    key = tokens.VerifyingKey(KEY_PEM)
    gate = admission.Gate("PAPER-1", "paper", common_pb2.ENVIRONMENT_PAPER, key, MINUTE_NS, 0)
    command = journal_pb2.VenueCommand(
        kind=journal_pb2.COMMAND_KIND_SUBMIT_ENTRY,
        client_order_id="ks1",
        account="PAPER-1",
        venue="paper",
        environment=common_pb2.ENVIRONMENT_PAPER,
        intent=intent,
        token=token,
        exit_warrant=token,
        expires_at_ns=2,
    )
    papers = admission.read_papers(gate, command)
    assert admission.check_entry(gate, command, papers, FlagsRead(True, flags, 1)) is not None
    assert admission.check_exit(gate, command, NOTHING) is not None


# --- kill flags ------------------------------------------------------------------------------------------------


def flag(scope: int, target: str = "", level: int = 1, expires_at_ns: int = 0) -> Any:
    return authority_pb2.KillFlag(scope=scope, target=target, level=level, expires_at_ns=expires_at_ns, reason="drill")


@pytest.mark.parametrize(
    ("scope", "target", "reason"),
    [
        (authority_pb2.KILL_SCOPE_GLOBAL, "", "KILL_ACTIVE"),
        (authority_pb2.KILL_SCOPE_VENUE, "paper", "KILL_ACTIVE"),
        (authority_pb2.KILL_SCOPE_VENUE, "other", "ADMITTED"),
        (authority_pb2.KILL_SCOPE_ACCOUNT, "PAPER-1", "KILL_ACTIVE"),
        (authority_pb2.KILL_SCOPE_ACCOUNT, "PAPER-2", "ADMITTED"),
        (authority_pb2.KILL_SCOPE_STRATEGY, "momentum", "KILL_ACTIVE"),
        (authority_pb2.KILL_SCOPE_STRATEGY, "other", "ADMITTED"),
        (authority_pb2.KILL_SCOPE_SYMBOL, "AAPL", "KILL_ACTIVE"),
        (authority_pb2.KILL_SCOPE_SYMBOL, "MSFT", "ADMITTED"),
        (authority_pb2.KILL_SCOPE_UNSPECIFIED, "", "KILL_ACTIVE"),
        (99, "from a later version", "KILL_ACTIVE"),
    ],
)
def test_kill_flag_blocks_entries_in_its_scope_and_no_others_T07(
    desk: Any, scope: int, target: str, reason: str
) -> None:
    assert verdict(desk, desk.entry(), desk.flags(flag(scope, target))) == reason


@pytest.mark.parametrize("level", authority_pb2.KillLevel.values())
def test_kill_flag_of_any_level_blocks_entries_T07(desk: Any, level: int) -> None:
    flags = desk.flags(flag(authority_pb2.KILL_SCOPE_GLOBAL, level=level))
    assert verdict(desk, desk.entry(), flags) == "KILL_ACTIVE"


@pytest.mark.parametrize(("left_ns", "reason"), [(-1, "ADMITTED"), (0, "ADMITTED"), (1, "KILL_ACTIVE")])
def test_temporary_kill_flag_lapses_by_itself_T06(desk: Any, left_ns: int, reason: str) -> None:
    flags = desk.flags(flag(authority_pb2.KILL_SCOPE_GLOBAL, expires_at_ns=desk.now_ns + left_ns))
    assert verdict(desk, desk.entry(), flags) == reason


@pytest.mark.parametrize(
    "read", [FlagsRead(False, b"", 1_790_000_000 * SECOND_NS), FlagsRead(True, b"\xff\xff", 1_790_000_000 * SECOND_NS)]
)
def test_kill_flags_that_cannot_be_read_count_as_raised_T07(desk: Any, read: FlagsRead) -> None:
    assert verdict(desk, desk.entry(), read) == "KILL_STATE_UNKNOWN"


def test_kill_is_the_answer_before_anything_else_about_the_papers(desk: Any) -> None:
    command = desk.entry()
    command.token = ""
    flags = desk.flags(flag(authority_pb2.KILL_SCOPE_GLOBAL))
    assert verdict(desk, command, flags) == "KILL_ACTIVE"


# --- exits -----------------------------------------------------------------------------------------------------


def exit_verdict(desk: Any, command: journal_pb2.VenueCommand, committed: str = "0") -> str:
    no = admission.check_exit(desk.gate, command, Number.parse(committed))
    return no.reason if no is not None else "ADMITTED"


def test_exit_with_its_warrant_is_admitted_without_token_flags_or_expiry(desk: Any) -> None:
    assert exit_verdict(desk, desk.exit()) == "ADMITTED"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (setting("exit_warrant", ""), "WARRANT_MISSING"),
        (setting("exit_warrant", "rubbish"), "WARRANT_INVALID"),
        (setting("trade_id", "intent-2"), "WARRANT_MISMATCH"),
        (setting("instrument.symbol", "MSFT"), "WARRANT_MISMATCH"),
        (setting("side", common_pb2.SIDE_BUY), "WARRANT_MISMATCH"),
        (setting("account", "PAPER-2"), "COMMAND_MISMATCH"),
        (setting("venue", "other"), "COMMAND_MISMATCH"),
        (setting("environment", common_pb2.ENVIRONMENT_LIVE), "COMMAND_MISMATCH"),
        (setting("client_order_id", "theirs"), "COMMAND_MISMATCH"),
        (setting("order_qty.units", 0), "COMMAND_INVALID"),
        (setting("order_qty.units", -1), "COMMAND_INVALID"),
        (setting("order_qty.units", 11), "EXIT_ABOVE_OPEN"),
        (setting("open_qty.units", 9), "EXIT_ABOVE_OPEN"),
        (setting("open_qty.units", 0), "EXIT_ABOVE_OPEN"),
    ],
)
def test_exit_outside_its_warrant_is_refused_by_name(desk: Any, spoil: Spoil, reason: str) -> None:
    command = desk.exit()
    spoil(command)
    assert exit_verdict(desk, command) == reason


@pytest.mark.parametrize(
    "spoil",
    [
        setting("account", "PAPER-2"),
        setting("venue", "other"),
        setting("environment", common_pb2.ENVIRONMENT_LIVE),
    ],
)
def test_warrant_of_another_account_venue_or_environment_opens_nothing(desk: Any, spoil: Spoil) -> None:
    assert exit_verdict(desk, desk.exit(spoil_claims=spoil)) == "WARRANT_MISMATCH"


def test_token_is_no_warrant(desk: Any) -> None:
    command = desk.exit()
    command.exit_warrant = desk.entry().token
    assert exit_verdict(desk, command) == "WARRANT_INVALID"


@pytest.mark.parametrize(
    ("quantity", "committed", "reason"),
    [("4", "6", "ADMITTED"), ("5", "6", "EXIT_ABOVE_WARRANT"), ("1", "10", "EXIT_ABOVE_WARRANT")],
)
def test_exits_never_add_up_to_more_than_the_warrant(desk: Any, quantity: str, committed: str, reason: str) -> None:
    assert exit_verdict(desk, desk.exit(quantity=quantity), committed) == reason


def test_short_trade_leaves_by_buying_and_its_open_quantity_may_be_signed(desk: Any) -> None:
    command = desk.exit(spoil_claims=setting("side", common_pb2.SIDE_BUY))
    command.side = common_pb2.SIDE_BUY
    command.open_qty.units = -10
    assert exit_verdict(desk, command) == "ADMITTED"


def test_refusal_names_field_value_and_rule(desk: Any) -> None:
    command = desk.exit(quantity="11")
    no = admission.check_exit(desk.gate, command, NOTHING)
    assert no is not None
    assert (no.field, no.value, no.rule) == ("order_qty", "11", "at most the open quantity, 10")


# --- brackets --------------------------------------------------------------------------------------------------


def bracket_verdict(desk: Any, entry: Any, protective: list[Any], traits: Traits = STRONG) -> str:
    papers = admission.read_papers(desk.gate, entry)
    no = admission.check_entry(replace(desk.gate, traits=traits), entry, papers, desk.flags(), protective)
    return no.reason if no is not None else "ADMITTED"


@pytest.mark.parametrize("target", ["110.0000", None])
def test_bracket_with_the_prices_that_were_approved_is_admitted_T01(desk: Any, target: str | None) -> None:
    assert bracket_verdict(desk, *desk.bracket(target)) == "ADMITTED"


def test_bracket_that_is_not_the_whole_that_was_approved_is_refused_T01_T02(desk: Any) -> None:
    entry, (stop, target) = desk.bracket()
    assert bracket_verdict(desk, entry, []) == "COMMAND_MISMATCH"
    assert bracket_verdict(desk, entry, [stop]) == "COMMAND_MISMATCH"
    assert bracket_verdict(desk, entry, [target, stop]) == "COMMAND_MISMATCH"
    assert bracket_verdict(desk, entry, [stop, target, target]) == "COMMAND_MISMATCH"
    assert bracket_verdict(desk, desk.entry(), [stop, target]) == "COMMAND_MISMATCH"


NOT_TERMS_OF_A_PROTECTIVE_ORDER = {
    *("kind", "venue_order_id", "leverage", "strategy", "reason", "expires_at_ns"),
    *("token", "intent", "exit_warrant", "open_qty"),
}
"""What a protective order may carry anything in: it decides nothing that is sent."""


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", sorted(journal_pb2.VenueCommand.DESCRIPTOR.fields_by_name))
def test_no_term_of_a_protective_order_can_be_changed_or_cleared_unnoticed_T01_T02(
    desk: Any, which: int, name: str
) -> None:
    for clears in (False, True):
        entry, protective = desk.bracket()
        if clears:
            protective[which].ClearField(name)
        else:
            _change(protective[which], name)
        is_refused = bracket_verdict(desk, entry, protective) != "ADMITTED"
        assert is_refused == (name not in NOT_TERMS_OF_A_PROTECTIVE_ORDER)


def test_bracket_is_refused_at_a_venue_that_cannot_hold_one_T01(desk: Any) -> None:
    assert bracket_verdict(desk, *desk.bracket(), replace(STRONG, brackets=False)) == "VENUE_CANNOT"
