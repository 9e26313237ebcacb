"""A desk to test governance at: limits, intents, an account with capital, and people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.effects import Publish
from kestrel_domain.identifiers import entry_client_order_id, token_id
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import DAY_NS, MINUTE_NS, SECOND_NS
from kestrel_domain.tokens import SigningKey
from kestrel_governance.core import kill
from kestrel_governance.core.authority import Authority, Effect
from kestrel_governance.core.kill import RaiseFlag
from kestrel_governance.core.limits import RiskLimits
from kestrel_governance.risk_settings import LAPTOP_ACCOUNTS, RiskSettings

NOW_NS = 1_780_000_000 * SECOND_NS
ADA = common_pb2.Actor(id="ada", kind="operator", origin="test")
BOB = common_pb2.Actor(id="bob", kind="operator", origin="test")


def decimal(text: str) -> common_pb2.Decimal:
    return Number.parse(text).message()


@dataclass
class Desk:
    """Builds what tests need, and an authority with a healthy account."""

    key: SigningKey
    limits: RiskLimits
    flags: authority_pb2.KillFlags = field(default_factory=authority_pb2.KillFlags)
    now_ns: int = NOW_NS
    ada = ADA
    bob = BOB
    _sequence: int = 0

    def with_limits(self, **changes: object) -> RiskLimits:
        self.limits = replace(self.limits, **changes)
        return self.limits

    def intent(self, intent_id: str = "i-1", **changes: object) -> intent_pb2.Intent:
        """A sound intent: buy 100 AAPL at a limit of 100.00, stop at 95.00."""
        intent = intent_pb2.Intent(
            intent_id=intent_id,
            account="PAPER-1",
            venue="paper",
            environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=common_pb2.Instrument(
                symbol="AAPL",
                version=1,
                currency="USD",
                price_scale=4,
                qty_scale=0,
                tick_units=100,
                lot_units=1,
                multiplier=1,
            ),
            side=common_pb2.SIDE_BUY,
            order_qty=decimal("100"),
            order_type=common_pb2.ORDER_TYPE_LIMIT,
            price=decimal("100.00"),
            time_in_force=common_pb2.TIME_IN_FORCE_DAY,
            stop_price=decimal("95.00"),
            reference_price=decimal("100.00"),
            leverage=1,
            strategy="momentum",
            attempt=1,
            anchor=common_pb2.StateAnchor(hash="ab" * 32, as_of_ns=self.now_ns - SECOND_NS),
            proposer=common_pb2.Actor(id="policy/momentum", kind="strategy", origin="test"),
            created_at_ns=self.now_ns - SECOND_NS,
            expires_at_ns=self.now_ns + 10 * MINUTE_NS,
        )
        for name, value in changes.items():
            target, _, leaf = name.rpartition("__")
            holder = getattr(intent, target) if target else intent
            if value is None:
                holder.ClearField(leaf)
            elif hasattr(value, "DESCRIPTOR"):
                getattr(holder, leaf).CopyFrom(value)
            else:
                setattr(holder, leaf, value)
        return intent

    def bar(self, close: str = "100.00") -> venue_pb2.Bar:
        """What the market says of AAPL."""
        return venue_pb2.Bar(venue="paper", instrument=self.intent().instrument, close=decimal(close))

    def healthy_entry(self, account: str = "PAPER-1", **changes: str) -> journal_pb2.JournalEntry:
        """A journal entry after which the account has a million, all of it available."""
        snapshot = state_pb2.AccountSnapshot(
            account=account,
            currency="USD",
            equity=decimal(changes.get("equity", "1000000")),
            wallet=decimal("1000000"),
            available=decimal(changes.get("available", "1000000")),
            capital_source=state_pb2.CAPITAL_SOURCE_E_ANCHORED,
            max_slots=int(changes.get("max_slots", "20")),
        )
        return journal_pb2.JournalEntry(account=account, account_after=snapshot, input_time_ns=self.now_ns)

    def authority(self, *, healthy: bool = True) -> Authority:
        authority = Authority(self.limits, self.key, partitions=1, instance="test")
        if healthy:
            authority.on_journal_entry(self.healthy_entry())
            authority.on_bar(self.bar())
        return authority

    def offer(self, authority: Authority, intent: intent_pb2.Intent | bytes) -> list[Effect]:
        """Hand an intent in, and raise the flags that come of it."""
        stored = intent if isinstance(intent, bytes) else intent.SerializeToString()
        account = "PAPER-1" if isinstance(intent, bytes) else intent.account
        effects = authority.on_intent(
            stored, account=account, received_at_ns=self.now_ns, now_ns=self.now_ns, flags=self.flags
        )
        self.keep_flags(effects)
        return effects

    def flag(self, scope: Any, target: str, level: Any = authority_pb2.KILL_LEVEL_BLOCK_ENTRIES) -> Any:
        return authority_pb2.KillFlag(
            scope=scope, target=target, level=level, reason="drill", set_by=ADA, set_at_ns=self.now_ns
        )

    def raise_flag(self, scope: Any, target: str) -> None:
        """Somebody pulled the kill switch."""
        self.flags = kill.raised(self.flags, self.flag(scope, target), self.now_ns)

    def keep_flags(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, RaiseFlag):
                self.flags = kill.raised(self.flags, effect.flag, self.now_ns)

    def mandate(self, **changes: object) -> authority_pb2.Mandate:
        mandate = authority_pb2.Mandate(
            mandate_id="m-1",
            strategy="momentum",
            account="PAPER-1",
            symbols=["AAPL", "MSFT"],
            max_order_notional=decimal("50000"),
            max_total_notional=decimal("200000"),
            max_order_count=100,
            environment=common_pb2.ENVIRONMENT_PAPER,
            expires_at_ns=self.now_ns + DAY_NS,
            reason="test",
        )
        for name, value in changes.items():
            if value is None:
                mandate.ClearField(name)
            elif name == "symbols":
                mandate.symbols[:] = value
            elif hasattr(value, "DESCRIPTOR"):
                getattr(mandate, name).CopyFrom(value)
            else:
                setattr(mandate, name, value)
        return mandate

    def entry_journaled(self, entry: Publish, *, accepted: bool = True, **slot: object) -> journal_pb2.JournalEntry:
        """What the kernel journals for an AuthorizedIntent: accepted into slot 0, or refused."""
        self._sequence += 1
        message = inbox_pb2.InboxMessage.FromString(entry.body)
        intent = intent_pb2.Intent.FromString(message.entry.intent)
        journaled = journal_pb2.JournalEntry(
            account=intent.account,
            door="entry",
            input=entry.body,
            input_sequence=self._sequence,
            input_time_ns=self.now_ns,
            outcome=journal_pb2.Outcome(accepted=accepted, code="OK" if accepted else "SLOT_BUSY"),
        )
        if accepted:
            journaled.slots.append(
                state_pb2.SlotSnapshot(
                    slot_index=int(slot.get("slot_index", 0)),
                    trade_id=intent.intent_id,
                    instrument=intent.instrument,
                    leverage=intent.leverage,
                    entry=state_pb2.OrderView(
                        client_order_id=entry_client_order_id(token_id(intent.intent_id, intent.attempt)),
                        life=state_pb2.ORDER_LIFE_PENDING_NEW,
                        order_qty=intent.order_qty,
                        cum_qty=decimal("0"),
                        price=intent.price if intent.HasField("price") else None,
                    ),
                )
            )
        return journaled


def published(effects: list[Effect] | tuple[Effect, ...], subject: str = "") -> list[Publish]:
    return [effect for effect in effects if isinstance(effect, Publish) and effect.subject.startswith(subject)]


def beads(effects: list[Effect] | tuple[Effect, ...], kind: str) -> list[audit_pb2.Bead]:
    return [audit_pb2.Bead.FromString(one.body) for one in published(effects, f"bead.{kind}.")]


@pytest.fixture(scope="session")
def make_desk() -> Callable[[], Desk]:
    key = SigningKey.generate()
    limits = RiskSettings().limits(common_pb2.ENVIRONMENT_PAPER, LAPTOP_ACCOUNTS)
    return lambda: Desk(key, limits)


@pytest.fixture
def desk(make_desk: Callable[[], Desk]) -> Desk:
    return make_desk()


@pytest.fixture(scope="session")
def look() -> type:
    """Reading effects: ``look.published(effects, subject)``, ``look.beads(effects, kind)``."""

    class Look:
        published = staticmethod(published)
        beads = staticmethod(beads)
        decimal = staticmethod(decimal)
        number = staticmethod(Number.parse)

        @staticmethod
        def verdict(effects: list[Effect]) -> int:
            return int(beads(effects, "decision")[-1].decision.verdict)

        @staticmethod
        def checks(effects: list[Effect]) -> dict[str, authority_pb2.RiskCheck]:
            return {check.reason: check for check in beads(effects, "decision")[-1].decision.checks}

    return Look
