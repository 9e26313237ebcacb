"""Whatever happens, in any order: none without a decision, while killed, twice, above limits, or two in one symbol."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel_domain.effects import Publish
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MINUTE_NS, SECOND_NS
from kestrel_governance.core import kill

EQUITY = 100_000
LIMIT = Fraction(90_000)


def test_no_sequence_of_events_breaks_an_invariant(make_desk: Callable[[], Any]) -> None:
    class Machine(RuleBasedStateMachine):
        """Intents, people, the kernel's answers and time, as they come."""

        def __init__(self) -> None:
            super().__init__()
            self.desk = make_desk()
            ninety = Number(9, 1)
            self.desk.with_limits(
                order_notional_ratio_max=ninety, symbol_exposure_ratio_max=ninety, risk_per_trade_ratio_max=ninety
            )
            self.authority = self.desk.authority()
            self.authority.on_journal_entry(self.desk.healthy_entry(equity=str(EQUITY), available=str(EQUITY)))
            asked = self.desk.mandate(max_total_notional=None, symbols=[])
            self.authority.grant_mandate(asked, actor=self.desk.bob, request_id="g", now_ns=self.desk.now_ns)
            self.entries: dict[str, Publish] = {}
            self.decisions: dict[str, int] = {}
            self.unanswered: list[Publish] = []
            self.held: dict[str, Fraction] = {}
            self.symbols: dict[str, str] = {}
            self.count = 0

        def take(self, effects: Any) -> None:
            """Look at what was decided, in order."""
            for effect in effects:
                if not isinstance(effect, Publish):
                    self.desk.flags = kill.raised(self.desk.flags, effect.flag, self.desk.now_ns)
                elif effect.subject.startswith("bead.decision."):
                    decision = audit_pb2.Bead.FromString(effect.body).decision
                    if decision.verdict != authority_pb2.VERDICT_PENDING:
                        assert decision.intent_id not in self.decisions, "decided twice"
                        self.decisions[decision.intent_id] = decision.verdict
                elif effect.subject.endswith(".entry"):
                    self.look_at_entry(effect)

        def look_at_entry(self, effect: Publish) -> None:
            assert effect.message_id not in self.entries, "authorized twice"
            stored = inbox_pb2.InboxMessage.FromString(effect.body).entry.intent
            intent = intent_pb2.Intent.FromString(stored)
            assert self.decisions[intent.intent_id] == authority_pb2.VERDICT_APPROVED, "decision comes first"
            assert not kill.covering(self.desk.flags, intent, self.desk.now_ns), "authorized while killed"
            self.entries[effect.message_id] = effect
            self.unanswered.append(effect)
            self.held[intent.intent_id] = Fraction(intent.order_qty.units * 100)
            self.symbols[intent.intent_id] = intent.instrument.symbol

        @rule(
            symbol=st.sampled_from(["AAPL", "GOOG", "IBM", "MSFT"]),
            quantity=st.sampled_from([10, 310, 460, 900]),
            by_hand=st.integers(0, 3),
            age_s=st.integers(0, 11),
        )
        def intent(self, symbol: str, quantity: int, by_hand: int, age_s: int) -> None:
            self.count += 1
            self.take(
                self.desk.offer(
                    self.authority,
                    self.desk.intent(
                        f"i-{self.count}",
                        instrument__symbol=symbol,
                        order_qty=common_pb2.Decimal(units=quantity + self.count % 7),
                        proposer=self.desk.bob if by_hand == 3 else self.desk.intent().proposer,
                        anchor__as_of_ns=self.desk.now_ns - (20 * MINUTE_NS if age_s == 11 else SECOND_NS),
                    ),
                )
            )

        @rule(which=st.integers(0, 5), by_ada=st.booleans())
        def approve(self, which: int, by_ada: bool) -> None:
            shown = self.authority.pending("", now_ns=self.desk.now_ns, flags=self.desk.flags)
            if not shown:
                return
            one = shown[which % len(shown)]
            actor = self.desk.ada if by_ada else self.desk.bob
            answer = self.authority.approve(
                one.intent.intent_id,
                evidence_sha256=one.evidence_sha256,
                reason="",
                actor=actor,
                request_id="r",
                now_ns=self.desk.now_ns,
                flags=self.desk.flags,
            )
            if answer.refusal is None:
                assert one.intent.proposer.id != actor.id, "four eyes"
            self.take(answer.effects)

        @rule(accepted=st.booleans())
        def kernel_answers(self, accepted: bool) -> None:
            if self.unanswered:
                entry = self.unanswered.pop(0)
                index = len(self.entries) - len(self.unanswered)
                self.authority.on_journal_entry(self.desk.entry_journaled(entry, accepted=accepted, slot_index=index))
                if not accepted:
                    del self.held[entry.message_id.rpartition("-")[0]]

        @rule(scope=st.sampled_from([(authority_pb2.KILL_SCOPE_GLOBAL, ""), (authority_pb2.KILL_SCOPE_SYMBOL, "AAPL")]))
        def somebody_kills(self, scope: Any) -> None:
            if self.count % 5 == 4:
                self.desk.raise_flag(*scope)

        @rule()
        def rearmed(self) -> None:
            self.desk.flags = authority_pb2.KillFlags()

        @rule(step_ns=st.sampled_from([2 * SECOND_NS, MINUTE_NS]))
        def time_passes(self, step_ns: int) -> None:
            self.desk.now_ns += step_ns
            effects = self.authority.tick(now_ns=self.desk.now_ns)
            self.take(effects)
            for effect in effects:
                if isinstance(effect, Publish) and effect.subject.startswith("bead.token."):
                    self.forget(audit_pb2.Bead.FromString(effect.body).token)

        def forget(self, event: authority_pb2.TokenEvent) -> None:
            """A token that expired before the kernel answered will never be one: its capital is free again."""
            waiting = [entry for entry in self.unanswered if entry.message_id == f"{event.intent_id}-1"]
            for entry in waiting:
                self.unanswered.remove(entry)
                del self.held[event.intent_id]

        @invariant()
        def capital_is_never_promised_twice(self) -> None:
            assert sum(self.held.values(), Fraction(0)) <= LIMIT

        @invariant()
        def a_symbol_has_one_trade_at_most(self) -> None:
            symbols = [self.symbols[intent_id] for intent_id in self.held]
            assert len(set(symbols)) == len(symbols)

    case = Machine.TestCase
    case.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
    case().runTest()
