"""The authority: what is decided, in what order it is stored, and who may say yes."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, state_pb2
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.identifiers import token_id
from kestrel_domain.timestamps import MINUTE_NS, SECOND_NS
from kestrel_domain.tokens import intent_sha256, read_token, read_warrant
from kestrel_governance.core.authorization import entry_message_id
from kestrel_governance.core.kill import RaiseFlag

Desk = Any
Look = Any


def authorized(publish: Publish) -> intent_pb2.AuthorizedIntent:
    return inbox_pb2.InboxMessage.FromString(publish.body).entry


def approve(desk: Desk, authority: Any, actor: common_pb2.Actor | None = None, **changes: Any) -> Any:
    shown = authority.pending("", now_ns=desk.now_ns, flags=desk.flags)
    asked = {
        "evidence_sha256": shown[0].evidence_sha256 if shown else b"",
        "reason": "looks right",
        "actor": actor or desk.ada,
        "request_id": "r-1",
        "now_ns": desk.now_ns,
        "flags": desk.flags,
    } | changes
    answer = authority.approve("i-1", **asked)
    desk.keep_flags(list(answer.effects))
    return answer


def test_a_sound_intent_without_a_mandate_waits_for_a_person(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    effects = desk.offer(authority, desk.intent())
    assert look.verdict(effects) == authority_pb2.VERDICT_PENDING
    assert not look.published(effects, "inbox.")
    [waiting] = authority.pending("PAPER-1", now_ns=desk.now_ns, flags=desk.flags)
    assert waiting.intent.intent_id == "i-1"


def test_the_evidence_shows_checks_notional_risk_and_freshness_T05(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    [waiting] = authority.pending("", now_ns=desk.now_ns, flags=desk.flags)
    assert waiting.notional == look.decimal("10000.00000000")
    assert waiting.risk_at_stop == look.decimal("500.00000000")
    assert waiting.anchor_age_ns == SECOND_NS
    assert {check.reason for check in waiting.checks} >= {"KILL_ACTIVE", "STATE_STALE", "RISK_PER_TRADE"}
    assert all(check.runbook == f"docs/operations/{check.reason.lower()}.md" for check in waiting.checks)
    assert len(waiting.evidence_sha256) == 32


def test_an_approval_is_decision_then_permission_then_token_bead_T04(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    answer = approve(desk, authority)
    kinds = [effect.subject.split(".")[1 if effect.subject.startswith("bead") else 0] for effect in answer.effects]
    assert kinds == ["decision", "inbox", "token"]
    [bead] = look.beads(answer.effects, "token")
    assert bead.token.kind == authority_pb2.TOKEN_EVENT_KIND_ISSUED
    assert answer.decision.decided_by.id == "ada"
    assert answer.decision.reason == "looks right"


def test_a_token_binds_bytes_anchor_account_approver_and_five_minutes_INV_T2_TOKEN_1(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    stored = desk.intent().SerializeToString()
    desk.offer(authority, stored)
    answer = approve(desk, authority)
    [entry] = look.published(answer.effects, "inbox.")
    permission = authorized(entry)
    claims = read_token(desk.key.verifying_key(), permission.token, stored_intent=stored)
    assert permission.intent == stored
    assert entry.message_id == entry_message_id("i-1", 1) == "i-1-1"
    assert entry.subject == "inbox.0.PAPER-1.entry"
    assert claims.token_id == token_id("i-1", 1)
    assert claims.intent_sha256 == intent_sha256(stored)
    assert claims.evidence_sha256 == answer.decision.evidence_sha256
    assert (claims.approver, claims.mandate_id) == ("ada", "")
    assert (claims.account, claims.venue) == ("PAPER-1", "paper")
    assert claims.anchor == desk.intent().anchor
    assert claims.expires_at_ns == desk.now_ns + 5 * MINUTE_NS == permission.expires_at_ns
    with pytest.raises(Refused, match="signature"):
        read_token(desk.key.verifying_key(), permission.token, stored_intent=stored + b" ")


def test_a_token_never_outlives_its_intent_INV_T2_TOKEN_1(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent(expires_at_ns=desk.now_ns + MINUTE_NS))
    [entry] = look.published(approve(desk, authority).effects, "inbox.")
    assert authorized(entry).expires_at_ns == desk.now_ns + MINUTE_NS


def test_the_exit_warrant_reduces_this_trade_by_at_most_its_quantity(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    [entry] = look.published(approve(desk, authority).effects, "inbox.")
    claims = read_warrant(desk.key.verifying_key(), authorized(entry).exit_warrant)
    assert (claims.trade_id, claims.symbol, claims.side) == ("i-1", "AAPL", common_pb2.SIDE_SELL)
    assert claims.order_qty == look.decimal("100")


def test_a_second_approval_by_the_same_person_gets_the_first_answer_and_stores_nothing(desk: Desk) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    first, again = approve(desk, authority), approve(desk, authority)
    assert again.decision == first.decision
    assert again.effects == ()
    assert again.refusal is None


def test_a_second_person_approving_what_is_decided_is_told_so_and_recorded_P09(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    approve(desk, authority)
    late = approve(desk, authority, desk.bob)
    assert late.refusal.reason == "NOT_PENDING"
    [bead] = look.beads(late.effects, "operator")
    assert (bead.actor.id, bead.operator.granted) == ("bob", False)


def test_a_person_never_approves_his_own_intent(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent(proposer=desk.ada))
    answer = approve(desk, authority, desk.ada)
    assert answer.refusal.reason == "FOUR_EYES"
    assert not look.published(answer.effects, "inbox.")
    assert approve(desk, authority, desk.bob).refusal is None


def test_a_mandate_does_not_cover_what_a_person_proposed(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    effects = desk.offer(authority, desk.intent(proposer=desk.ada))
    assert look.verdict(effects) == authority_pb2.VERDICT_PENDING


def test_an_approval_of_other_evidence_is_refused_T05(desk: Desk) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    refused = approve(desk, authority, evidence_sha256=b"x" * 32)
    assert (refused.refusal.reason, refused.refusal.value) == ("EVIDENCE_MISMATCH", (b"x" * 32).hex())
    assert approve(desk, authority, evidence_sha256=b"").refusal.reason == "EVIDENCE_MISMATCH"


def test_evidence_survives_moving_figures_and_lapses_when_a_verdict_changes_T05(desk: Desk) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    [shown] = authority.pending("", now_ns=desk.now_ns, flags=desk.flags)
    authority.on_journal_entry(desk.healthy_entry(equity="999999.37"))
    desk.now_ns += SECOND_NS
    [later] = authority.pending("", now_ns=desk.now_ns, flags=desk.flags)
    assert later.evidence_sha256 == shown.evidence_sha256
    authority.on_journal_entry(desk.healthy_entry(available="12000"))
    answer = approve(desk, authority, evidence_sha256=shown.evidence_sha256)
    assert answer.refusal.reason == "EVIDENCE_CHANGED"
    assert "BUYING_POWER was PASS and is WARN" in answer.refusal.rule


def test_what_an_intent_showed_when_it_began_to_wait_is_known_after_a_restart_too_T05(desk: Desk, look: Look) -> None:
    first = desk.authority()
    [bead] = look.beads(desk.offer(first, desk.intent()), "decision")
    again = desk.authority()
    again.learn_intent(desk.intent().SerializeToString(), account="PAPER-1", received_at_ns=desk.now_ns)
    again.on_bead(bead)
    again.on_journal_entry(desk.healthy_entry(available="12000"))
    answer = approve(desk, again, evidence_sha256=bead.decision.evidence_sha256)
    assert answer.refusal.reason == "EVIDENCE_CHANGED"


def test_evidence_under_another_risk_configuration_is_other_evidence_T05(desk: Desk, look: Look) -> None:
    """No verdict changed, so nothing is said to have."""
    first = desk.authority()
    [bead] = look.beads(desk.offer(first, desk.intent()), "decision")
    desk.with_limits(order_notional_max=look.number("150000"))
    again = desk.authority()
    again.learn_intent(desk.intent().SerializeToString(), account="PAPER-1", received_at_ns=desk.now_ns)
    again.on_bead(bead)
    answer = approve(desk, again, evidence_sha256=bead.decision.evidence_sha256)
    assert answer.refusal.reason == "EVIDENCE_MISMATCH"


def test_checks_run_again_at_approval_and_a_block_refuses(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    [shown] = authority.pending("", now_ns=desk.now_ns, flags=desk.flags)
    authority.on_journal_entry(desk.healthy_entry(available="5000"))
    answer = approve(desk, authority, evidence_sha256=shown.evidence_sha256)
    assert answer.refusal.reason == "BUYING_POWER"
    assert answer.refusal.value == "10000"
    assert not look.published(answer.effects, "inbox.")


def test_a_person_may_pass_and_the_intent_stops_waiting(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    answer = authority.pass_("i-1", reason="news", actor=desk.ada, request_id="r", now_ns=desk.now_ns)
    assert look.verdict(list(answer.effects)) == authority_pb2.VERDICT_PASSED
    assert not list(authority.state.pending())
    assert approve(desk, authority).refusal.reason == "NOT_PENDING"


def test_nobody_answering_in_time_expires_the_intent_once(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    deadline_ns = authority.next_deadline_ns()
    assert deadline_ns == desk.now_ns + 10 * MINUTE_NS
    assert authority.tick(now_ns=deadline_ns - 1) == []
    assert look.verdict(authority.tick(now_ns=deadline_ns)) == authority_pb2.VERDICT_EXPIRED
    assert authority.tick(now_ns=deadline_ns) == []
    assert authority.next_deadline_ns() is None


def test_an_intent_that_arrives_expired_is_expired_and_kills_nothing(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    late = desk.intent(
        anchor__as_of_ns=desk.now_ns - 60 * MINUTE_NS,
        created_at_ns=desk.now_ns - 60 * MINUTE_NS,
        expires_at_ns=desk.now_ns - MINUTE_NS,
    )
    effects = desk.offer(authority, late)
    assert look.verdict(effects) == authority_pb2.VERDICT_EXPIRED
    assert not desk.flags.flags


def test_the_same_intent_twice_is_one_intent(desk: Desk) -> None:
    authority = desk.authority()
    assert desk.offer(authority, desk.intent())
    assert desk.offer(authority, desk.intent()) == [] or authority.state.undecided() == []
    assert len(list(authority.state.pending())) == 1


def test_one_id_with_other_bytes_is_refused_and_the_first_stands(desk: Desk) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    with pytest.raises(InvalidRequest, match="these bytes differ") as caught:
        desk.offer(authority, desk.intent(order_qty=desk.intent().price))
    assert caught.value.reason == "INTENT_REUSED"


@pytest.mark.parametrize(
    ("stored", "field"),
    [
        (b"\xff\xff", "intent"),
        (b"", "intent_id"),
        (intent_pb2.Intent(intent_id="a.b").SerializeToString(), "intent_id"),
    ],
)
def test_bytes_that_no_decision_could_name_are_refused_with_the_field_P11(
    desk: Desk, stored: bytes, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        desk.offer(desk.authority(), stored)
    assert caught.value.field == field


def test_an_intent_under_another_accounts_subject_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidRequest, match="as its subject says"):
        desk.authority().on_intent(
            desk.intent(account="OTHER").SerializeToString(),
            account="PAPER-1",
            received_at_ns=1,
            now_ns=desk.now_ns,
            flags=desk.flags,
        )


def test_a_denial_says_everything_that_is_wrong_and_rings(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    effects = desk.offer(authority, desk.intent(venue="other", leverage=9))
    [bead] = look.beads(effects, "decision")
    assert bead.decision.verdict == authority_pb2.VERDICT_DENIED
    assert [check.value for check in bead.decision.checks] == ["venue=other", "leverage=9"]
    assert [check.limit for check in bead.decision.checks] == ["paper, where account PAPER-1 trades", "1 to 3"]
    [alert] = look.published(effects, "alert.")
    assert alert.subject == "alert.warning.governance"


def test_an_order_too_large_for_any_number_is_denied_and_not_parked(desk: Desk, look: Look) -> None:
    huge = desk.intent(order_qty=common_pb2.Decimal(units=9 * 10**18), instrument__multiplier=10**9)
    effects = desk.offer(desk.authority(), huge)
    [bead] = look.beads(effects, "decision")
    assert bead.decision.verdict == authority_pb2.VERDICT_DENIED
    assert not bead.decision.HasField("notional")


# -- mandates ---------------------------------------------------------------------------------------------------------


def test_an_intent_under_a_mandate_is_authorized_at_once_in_the_mandates_name(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    effects = desk.offer(authority, desk.intent())
    assert look.verdict(effects) == authority_pb2.VERDICT_APPROVED
    [entry] = look.published(effects, "inbox.")
    permission = authorized(entry)
    claims = read_token(desk.key.verifying_key(), permission.token, stored_intent=permission.intent)
    assert (claims.mandate_id, claims.approver) == ("m-1", "")


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"max_order_notional": common_pb2.Decimal(units=9999)}, "for one order"),
        ({"max_total_notional": common_pb2.Decimal(units=9999)}, "left of its total"),
        ({"symbols": ["MSFT"]}, "does not name AAPL"),
        ({"strategy": "other"}, "no mandate"),
    ],
)
def test_an_intent_outside_the_mandates_limits_waits_for_a_person(
    desk: Desk, look: Look, terms: dict[str, Any], why: str
) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(**terms), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    effects = desk.offer(authority, desk.intent())
    [bead] = look.beads(effects, "decision")
    assert bead.decision.verdict == authority_pb2.VERDICT_PENDING
    assert why in bead.decision.reason


def test_a_mandates_count_and_total_are_used_up_by_what_was_authorized(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    mandate = desk.mandate(max_order_count=2, symbols=[])
    authority.grant_mandate(mandate, actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    verdicts = []
    for number, symbol in enumerate(("AAPL", "MSFT", "GOOG")):
        desk.now_ns += 2 * SECOND_NS
        intent = desk.intent(f"i-{number}", instrument__symbol=symbol)
        verdicts.append(look.verdict(desk.offer(authority, intent)))
    assert verdicts == [
        authority_pb2.VERDICT_APPROVED,
        authority_pb2.VERDICT_APPROVED,
        authority_pb2.VERDICT_PENDING,
    ]
    [use] = authority.mandate_uses(all_of_them=True, now_ns=desk.now_ns)
    assert (use.order_count, use.state) == (2, "USED_UP")
    assert use.total_notional == look.decimal("20000.00000000")


def test_a_mandate_nearly_used_rings_once_it_is(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(max_order_count=1), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    effects = desk.offer(authority, desk.intent())
    [alert] = look.published(effects, "alert.")
    assert b"MANDATE_NEARLY_USED" in alert.body


def test_a_revoked_or_expired_mandate_covers_nothing(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    authority.grant_mandate(
        desk.mandate(mandate_id="m-2", expires_at_ns=desk.now_ns + 1),
        actor=desk.bob,
        request_id="h",
        now_ns=desk.now_ns,
    )
    revoked = authority.revoke_mandate("m-1", reason="done", actor=desk.ada, request_id="x", now_ns=desk.now_ns)
    assert revoked.mandate.revoked_by.id == "ada"
    desk.now_ns += SECOND_NS
    [bead] = look.beads(desk.offer(authority, desk.intent()), "decision")
    assert bead.decision.verdict == authority_pb2.VERDICT_PENDING
    assert "it is revoked" in bead.decision.reason
    assert "it is expired" in bead.decision.reason
    assert authority.mandate_uses(all_of_them=False, now_ns=desk.now_ns) == []


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"strategy": ""}, "mandate.strategy"),
        ({"account": "NOPE"}, "mandate.account"),
        ({"symbols": ["aapl"]}, "mandate.symbols"),
        ({"symbols": ["AAPL", "AAPL"]}, "mandate.symbols"),
        ({"max_order_notional": None}, "mandate.max_order_notional"),
        ({"max_order_notional": common_pb2.Decimal(units=0)}, "mandate.max_order_notional"),
        ({"max_total_notional": common_pb2.Decimal(units=-1)}, "mandate.max_total_notional"),
        ({"max_order_notional": common_pb2.Decimal(units=1, scale=77)}, "mandate.max_order_notional"),
        ({"environment": common_pb2.ENVIRONMENT_LIVE}, "mandate.environment"),
        ({"expires_at_ns": 5}, "mandate.expires_at_ns"),
        ({"mandate_id": "a b"}, "mandate.mandate_id"),
    ],
)
def test_a_malformed_mandate_is_refused_with_its_field(desk: Desk, terms: dict[str, Any], field: str) -> None:
    authority = desk.authority()
    with pytest.raises(InvalidRequest) as caught:
        authority.grant_mandate(desk.mandate(**terms), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    assert caught.value.field == field
    assert authority.mandate_uses(all_of_them=True, now_ns=desk.now_ns) == []


def test_granting_the_same_request_again_returns_the_first_mandate(desk: Desk) -> None:
    authority = desk.authority()
    asked = desk.mandate(mandate_id="")
    first = authority.grant_mandate(asked, actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    again = authority.grant_mandate(asked, actor=desk.bob, request_id="g", now_ns=desk.now_ns + 5)
    assert again.mandate == first.mandate
    assert again.effects == ()


# -- stale state ------------------------------------------------------------------------------------------------------


def test_a_stale_anchor_is_a_state_conflict_and_kills_the_strategy_for_five_minutes_INV_STALE_KILL_1(
    desk: Desk, look: Look
) -> None:
    authority = desk.authority()
    stale = desk.intent(anchor__as_of_ns=desk.now_ns - 15 * MINUTE_NS - 1)
    effects = desk.offer(authority, stale)
    assert isinstance(effects[0], RaiseFlag)
    assert look.checks(effects)["STATE_CONFLICT"].verdict == authority_pb2.CHECK_VERDICT_BLOCK
    [flag] = desk.flags.flags
    assert (flag.scope, flag.target) == (authority_pb2.KILL_SCOPE_STRATEGY, "momentum")
    assert flag.expires_at_ns == desk.now_ns + 5 * MINUTE_NS

    assert "KILL_ACTIVE" in look.beads(desk.offer(authority, desk.intent("i-2")), "decision")[0].decision.reason
    other = desk.offer(authority, desk.intent("i-3", strategy="other"))
    assert look.verdict(other) == authority_pb2.VERDICT_PENDING
    desk.now_ns += 5 * MINUTE_NS
    assert look.verdict(desk.offer(authority, desk.intent("i-4"))) == authority_pb2.VERDICT_PENDING


def test_an_anchor_of_exactly_fifteen_minutes_still_passes_with_a_warning_T06(desk: Desk, look: Look) -> None:
    effects = desk.offer(desk.authority(), desk.intent(anchor__as_of_ns=desk.now_ns - 15 * MINUTE_NS))
    assert look.verdict(effects) == authority_pb2.VERDICT_PENDING
    assert look.checks(effects)["STATE_STALE"].verdict == authority_pb2.CHECK_VERDICT_WARN


def test_a_stale_intent_found_at_a_restart_stops_those_behind_it_INV_STALE_KILL_1(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    stale = desk.intent(anchor__as_of_ns=desk.now_ns - 16 * MINUTE_NS)
    for intent in (stale, desk.intent("i-2")):
        authority.learn_intent(intent.SerializeToString(), account="PAPER-1", received_at_ns=desk.now_ns)
    effects = authority.recover(now_ns=desk.now_ns, flags=desk.flags)
    reasons = [bead.decision.reason for bead in look.beads(effects, "decision")]
    assert ["STATE_CONFLICT" in reasons[0], "KILL_ACTIVE" in reasons[1]] == [True, True]
    assert not desk.flags.flags


def test_approving_after_the_state_went_stale_is_a_state_conflict_INV_STALE_KILL_1(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent(expires_at_ns=desk.now_ns + 60 * MINUTE_NS))
    desk.now_ns += 31 * MINUTE_NS
    answer = approve(desk, authority)
    assert answer.refusal.reason == "STATE_CONFLICT"
    assert not look.published(answer.effects, "inbox.")
    assert look.verdict(list(answer.effects)) == authority_pb2.VERDICT_DENIED
    assert [flag.target for flag in desk.flags.flags] == ["momentum"]
    assert not list(authority.state.pending())


@pytest.mark.parametrize("restarted", [False, True])
def test_an_older_attempt_is_denied_after_a_later_one_was_authorized_and_is_over(
    desk: Desk, look: Look, restarted: bool
) -> None:
    authority = desk.authority()
    offered = [desk.intent(attempt=1), desk.intent(attempt=2)]
    effects = [effect for intent in offered for effect in desk.offer(authority, intent)]
    granted = approve(desk, authority, evidence_sha256=_evidence_of_attempt(desk, authority, 2))
    [entry] = look.published(granted.effects, "inbox.")
    refused = desk.entry_journaled(entry, accepted=False)
    authority.on_journal_entry(refused)
    if restarted:
        authority = desk.authority()
        for intent in offered:
            authority.learn_intent(intent.SerializeToString(), account="PAPER-1", received_at_ns=desk.now_ns)
        for effect in look.published([*effects, *granted.effects], "bead."):
            authority.on_bead(audit_pb2.Bead.FromString(effect.body))
        authority.on_journal_entry(refused)
        assert not look.published(authority.recover(now_ns=desk.now_ns, flags=desk.flags), "inbox.")

    answer = approve(desk, authority)
    assert answer.refusal.reason == "ATTEMPT_SUPERSEDED"
    assert look.verdict(list(answer.effects)) == authority_pb2.VERDICT_DENIED
    assert not look.published(answer.effects, "inbox.")
    assert not list(authority.state.pending())


def test_an_older_attempt_that_arrives_after_a_later_one_was_authorized_is_denied(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    [entry] = look.published(desk.offer(authority, desk.intent(attempt=2)), "inbox.")
    authority.on_journal_entry(desk.entry_journaled(entry, accepted=False))
    assert (
        "ATTEMPT_SUPERSEDED" in look.beads(desk.offer(authority, desk.intent(attempt=1)), "decision")[0].decision.reason
    )
    assert look.verdict(desk.offer(authority, desk.intent(attempt=3))) == authority_pb2.VERDICT_APPROVED


def _evidence_of_attempt(desk: Desk, authority: Any, attempt: int) -> bytes:
    shown = authority.pending("", now_ns=desk.now_ns, flags=desk.flags)
    return next(one.evidence_sha256 for one in shown if one.intent.attempt == attempt)


# -- kill -------------------------------------------------------------------------------------------------------------


def test_a_kill_flag_denies_new_entries_INV_KILL_BLOCKS_ENTRY_1(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.raise_flag(authority_pb2.KILL_SCOPE_GLOBAL, "")
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    effects = desk.offer(authority, desk.intent())
    assert look.verdict(effects) == authority_pb2.VERDICT_DENIED
    check = look.checks(effects)["KILL_ACTIVE"]
    assert (check.verdict, check.value) == (authority_pb2.CHECK_VERDICT_BLOCK, "GLOBAL")
    assert "drill (ada)" in check.message


def test_a_kill_rings_when_it_is_raised_and_its_denials_once_per_flag_and_strategy_T17(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    answer = authority.kill(
        authority_pb2.KILL_SCOPE_GLOBAL,
        "",
        authority_pb2.KILL_LEVEL_BLOCK_ENTRIES,
        reason="drill",
        actor=desk.ada,
        now_ns=desk.now_ns,
    )
    desk.keep_flags(list(answer.effects))
    assert [alert.subject for alert in look.published(answer.effects, "alert.")] == ["alert.critical.governance"]

    def rung(intent_id: str, **changes: Any) -> list[str]:
        effects = desk.offer(authority, desk.intent(intent_id, **changes))
        assert look.verdict(effects) == authority_pb2.VERDICT_DENIED
        return [alert.subject for alert in look.published(effects, "alert.")]

    assert rung("i-1") == ["alert.warning.governance"]
    assert [rung("i-2"), rung("i-3", order_qty=look.decimal("7"))] == [[], []]
    assert rung("i-4", strategy="other") == ["alert.warning.governance"]
    desk.now_ns += SECOND_NS
    desk.raise_flag(authority_pb2.KILL_SCOPE_SYMBOL, "AAPL")
    assert rung("i-5") == [], "the flag that was said first still stands"
    desk.flags.flags.pop(0)
    assert rung("i-6") == ["alert.warning.governance"], "another flag"


def test_a_kill_that_hides_another_fault_still_rings_no_louder_T17(desk: Desk, look: Look) -> None:
    authority = desk.authority(healthy=False)
    desk.raise_flag(authority_pb2.KILL_SCOPE_GLOBAL, "")
    effects = desk.offer(authority, desk.intent())
    assert "CAPITAL_UNKNOWN" in look.beads(effects, "decision")[0].decision.reason
    assert [alert.subject for alert in look.published(effects, "alert.")] == ["alert.warning.governance"]


def test_a_kill_between_showing_and_approving_refuses_INV_KILL_BLOCKS_ENTRY_1(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent())
    desk.raise_flag(authority_pb2.KILL_SCOPE_SYMBOL, "AAPL")
    refused = approve(desk, authority)
    assert refused.refusal.reason == "KILL_ACTIVE"
    assert not look.published(refused.effects, "inbox.")
    assert len(list(authority.state.pending())) == 1


def test_unreadable_flags_count_as_killed_INV_KILL_BLOCKS_ENTRY_1(desk: Desk, look: Look) -> None:
    desk.flags = None
    effects = desk.offer(desk.authority(), desk.intent())
    assert look.verdict(effects) == authority_pb2.VERDICT_DENIED
    assert look.checks(effects)["KILL_ACTIVE"].verdict == authority_pb2.CHECK_VERDICT_INDETERMINATE
    assert look.published(effects, "alert.critical.")


# -- capital and tokens over time -------------------------------------------------------------------------------------


def test_an_authorized_intent_reserves_its_notional_at_once(desk: Desk, look: Look) -> None:
    desk.with_limits(symbol_exposure_ratio_max=desk.limits.warn_ratio, order_notional_ratio_max=desk.limits.warn_ratio)
    authority = desk.authority()
    authority.on_journal_entry(desk.healthy_entry(equity="20000"))
    near = look.decimal("99.00")
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    assert look.verdict(desk.offer(authority, desk.intent("i-1", stop_price=near))) == authority_pb2.VERDICT_APPROVED
    desk.now_ns += 2 * SECOND_NS
    second = desk.offer(authority, desk.intent("i-2", stop_price=near, instrument__symbol="MSFT"))
    assert look.verdict(second) == authority_pb2.VERDICT_DENIED
    check = look.checks(second)["TOTAL_EXPOSURE"]
    assert (check.verdict, check.value, check.limit) == (authority_pb2.CHECK_VERDICT_BLOCK, "20000", "18000")


@pytest.mark.parametrize("accepted", [True, False])
def test_a_reservation_becomes_the_slots_or_is_released_when_the_kernel_answers(
    desk: Desk, look: Look, accepted: bool
) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    effects = desk.offer(authority, desk.intent())
    entry = next(effect for effect in effects if effect.subject.startswith("inbox."))
    assert len(authority.state.reservations("PAPER-1")) == 1
    authority.on_journal_entry(desk.entry_journaled(entry, accepted=accepted))
    assert authority.state.reservations("PAPER-1") == []
    effects = desk.offer(authority, desk.intent("i-2", order_qty=look.decimal("50"), instrument__symbol="MSFT"))
    assert look.verdict(effects) == authority_pb2.VERDICT_APPROVED
    assert look.checks(effects)["TOTAL_EXPOSURE"].value == ("15000" if accepted else "5000")


@pytest.mark.parametrize("accepted", [True, False])
def test_a_symbol_is_busy_from_its_authorization_until_its_trade_is_over(
    desk: Desk, look: Look, accepted: bool
) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    [entry] = look.published(desk.offer(authority, desk.intent()), "inbox.")

    def second(intent_id: str) -> Any:
        desk.now_ns += 2 * SECOND_NS
        return desk.offer(authority, desk.intent(intent_id))

    reserved = second("i-2")
    assert look.verdict(reserved) == authority_pb2.VERDICT_DENIED
    assert look.beads(reserved, "decision")[0].decision.reason == "SYMBOL_BUSY"
    journaled = desk.entry_journaled(entry, accepted=accepted)
    authority.on_journal_entry(journaled)
    answered = second("i-3")
    assert look.verdict(answered) == (authority_pb2.VERDICT_DENIED if accepted else authority_pb2.VERDICT_APPROVED)
    if accepted:
        assert look.checks(answered)["SYMBOL_BUSY"].value == "i-1"
        journaled.slots[0].entry.life = state_pb2.ORDER_LIFE_CANCELED
        authority.on_journal_entry(journaled)
        assert look.verdict(second("i-4")) == authority_pb2.VERDICT_APPROVED


def test_of_two_that_wait_in_one_symbol_only_one_can_be_approved(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    desk.offer(authority, desk.intent("i-1"))
    desk.offer(authority, desk.intent("i-2", order_qty=look.decimal("50")))
    answers = []
    for shown in authority.pending("", now_ns=desk.now_ns, flags=desk.flags):
        answers.append(
            authority.approve(
                shown.intent.intent_id,
                evidence_sha256=shown.evidence_sha256,
                reason="both looked right",
                actor=desk.ada,
                request_id=shown.intent.intent_id,
                now_ns=desk.now_ns,
                flags=desk.flags,
            )
        )
    assert [answer.refusal and answer.refusal.reason for answer in answers] == [None, "SYMBOL_BUSY"]
    assert not look.published(answers[1].effects, "inbox.")


def test_a_token_nobody_used_expires_once_T04(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    desk.offer(authority, desk.intent())
    deadline_ns = authority.next_deadline_ns()
    assert deadline_ns == desk.now_ns + 5 * MINUTE_NS + 5 * SECOND_NS
    [bead] = look.beads(authority.tick(now_ns=deadline_ns), "token")
    assert bead.token.kind == authority_pb2.TOKEN_EVENT_KIND_EXPIRED
    assert bead.token.reason.reason == "TOKEN_EXPIRED"
    assert authority.tick(now_ns=deadline_ns) == []
    assert authority.next_deadline_ns() is None


def test_an_expired_tokens_capital_is_free_when_the_journal_says_what_came_of_it_T04(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    [entry] = look.published(desk.offer(authority, desk.intent()), "inbox.")
    deadline_ns = authority.next_deadline_ns()
    assert deadline_ns is not None
    authority.tick(now_ns=deadline_ns)
    [reserved] = authority.state.reservations("PAPER-1")  # our clock does not know what the kernel made of it
    assert reserved.intent_id == "i-1"
    authority.on_journal_entry(desk.entry_journaled(entry, accepted=False))
    assert authority.state.reservations("PAPER-1") == []


def test_a_token_that_was_used_does_not_expire_T04(desk: Desk, look: Look) -> None:
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    [issued] = look.beads(desk.offer(authority, desk.intent()), "token")
    issued.token.kind = authority_pb2.TOKEN_EVENT_KIND_USED
    authority.on_bead(issued)
    assert authority.next_deadline_ns() is None
    assert authority.tick(now_ns=desk.now_ns + 60 * MINUTE_NS) == []
