"""A desk that issues papers as governance does, so that tests can spoil one thing at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel_domain import identifiers, tokens
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MINUTE_NS, SECOND_NS
from kestrel_venue_gateway.core.admission import FlagsRead, Gate

NOW_NS = 1_790_000_000 * SECOND_NS


@dataclass
class Desk:
    """Intents, tokens, warrants and commands of one account at one venue, all in order until they are spoiled."""

    account: str = "PAPER-1"
    venue: str = "paper"
    now_ns: int = NOW_NS
    command_life_ns: int = MINUTE_NS
    key: tokens.SigningKey = field(default_factory=tokens.SigningKey.generate)

    @property
    def gate(self) -> Gate:
        return Gate(
            account=self.account,
            venue=self.venue,
            environment=common_pb2.ENVIRONMENT_PAPER,
            key=self.key.verifying_key(),
            anchor_age_ns_max=15 * MINUTE_NS,
            clock_skew_ns_max=5 * SECOND_NS,
        )

    def flags(self, *flags: authority_pb2.KillFlag) -> FlagsRead:
        return FlagsRead(True, authority_pb2.KillFlags(flags=flags).SerializeToString(), self.now_ns)

    def instrument(self, symbol: str = "AAPL") -> common_pb2.Instrument:
        return common_pb2.Instrument(
            symbol=symbol, version=1, currency="USD", price_scale=4, tick_units=100, lot_units=1, multiplier=1
        )

    def intent(self, intent_id: str = "intent-1", quantity: str = "10", symbol: str = "AAPL") -> intent_pb2.Intent:
        return intent_pb2.Intent(
            intent_id=intent_id,
            account=self.account,
            venue=self.venue,
            environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=self.instrument(symbol),
            side=common_pb2.SIDE_BUY,
            order_qty=Number.parse(quantity).message(),
            order_type=common_pb2.ORDER_TYPE_LIMIT,
            price=Number.parse("101.5000").message(),
            time_in_force=common_pb2.TIME_IN_FORCE_DAY,
            leverage=1,
            strategy="momentum",
            attempt=1,
            anchor=common_pb2.StateAnchor(hash="abc", as_of_ns=self.now_ns - MINUTE_NS),
            created_at_ns=self.now_ns - MINUTE_NS,
            expires_at_ns=self.now_ns + self.command_life_ns,
        )

    def claims(self, intent: intent_pb2.Intent) -> authority_pb2.TokenClaims:
        return authority_pb2.TokenClaims(
            token_id=identifiers.token_id(intent.intent_id, intent.attempt),
            intent_id=intent.intent_id,
            attempt=intent.attempt,
            intent_sha256=tokens.intent_sha256(intent.SerializeToString()),
            anchor=intent.anchor,
            account=intent.account,
            venue=intent.venue,
            environment=intent.environment,
            approver="ada",
            issued_at_ns=self.now_ns - SECOND_NS,
            expires_at_ns=self.now_ns + 299 * SECOND_NS,
        )

    def entry(
        self,
        intent: intent_pb2.Intent | None = None,
        spoil_claims: Callable[[authority_pb2.TokenClaims], None] = lambda claims: None,
    ) -> journal_pb2.VenueCommand:
        intent = intent or self.intent()
        claims = self.claims(intent)
        spoil_claims(claims)
        return journal_pb2.VenueCommand(
            kind=journal_pb2.COMMAND_KIND_SUBMIT_ENTRY,
            client_order_id=identifiers.entry_client_order_id(identifiers.token_id(intent.intent_id, intent.attempt)),
            trade_id=intent.intent_id,
            account=intent.account,
            venue=intent.venue,
            environment=intent.environment,
            instrument=intent.instrument,
            side=intent.side,
            order_qty=intent.order_qty,
            order_type=intent.order_type,
            price=intent.price if intent.HasField("price") else None,
            time_in_force=intent.time_in_force,
            leverage=intent.leverage,
            token=tokens.sign_token(self.key, claims),
            intent=intent.SerializeToString(),
            expires_at_ns=self.now_ns + self.command_life_ns,
            strategy=intent.strategy,
        )

    def bracket(
        self, target: str | None = "110.0000"
    ) -> tuple[journal_pb2.VenueCommand, list[journal_pb2.VenueCommand]]:
        """An entry, and the protective orders that go out with it, as the kernel commands them."""
        intent = self.intent()
        intent.bracket = True
        intent.stop_price.CopyFrom(Number.parse("95.0000").message())
        if target is not None:
            intent.target_price.CopyFrom(Number.parse(target).message())
        entry = self.entry(intent)
        entry.group = entry.client_order_id
        protective = [self._protective(entry, "-S", common_pb2.ORDER_TYPE_STOP, intent.stop_price)]
        if target is not None:
            protective.append(self._protective(entry, "-T", common_pb2.ORDER_TYPE_LIMIT, intent.target_price))
        return entry, protective

    def _protective(
        self,
        entry: journal_pb2.VenueCommand,
        suffix: str,
        order_type: common_pb2.OrderType.ValueType,
        price: common_pb2.Decimal,
    ) -> journal_pb2.VenueCommand:
        return journal_pb2.VenueCommand(
            kind=journal_pb2.COMMAND_KIND_SUBMIT_PROTECTIVE,
            client_order_id=entry.client_order_id + suffix,
            trade_id=entry.trade_id,
            account=entry.account,
            venue=entry.venue,
            environment=entry.environment,
            instrument=entry.instrument,
            side=common_pb2.SIDE_SELL,
            order_qty=entry.order_qty,
            order_type=order_type,
            price=price,
            time_in_force=common_pb2.TIME_IN_FORCE_GTC,
            leverage=entry.leverage,
            strategy=entry.strategy,
            group=entry.group,
        )

    def warrant_claims(self, trade_id: str = "intent-1", quantity: str = "10") -> authority_pb2.WarrantClaims:
        return authority_pb2.WarrantClaims(
            warrant_id=identifiers.warrant_id(trade_id),
            trade_id=trade_id,
            account=self.account,
            venue=self.venue,
            symbol="AAPL",
            side=common_pb2.SIDE_SELL,
            order_qty=Number.parse(quantity).message(),
            environment=common_pb2.ENVIRONMENT_PAPER,
            issued_at_ns=self.now_ns,
        )

    def exit(
        self,
        trade_id: str = "intent-1",
        quantity: str = "10",
        open_quantity: str = "10",
        input_sequence: int = 7,
        spoil_claims: Callable[[authority_pb2.WarrantClaims], None] = lambda claims: None,
    ) -> journal_pb2.VenueCommand:
        claims = self.warrant_claims(trade_id)
        spoil_claims(claims)
        return journal_pb2.VenueCommand(
            kind=journal_pb2.COMMAND_KIND_SUBMIT_EXIT,
            client_order_id=identifiers.exit_client_order_id(trade_id, input_sequence),
            trade_id=trade_id,
            account=self.account,
            venue=self.venue,
            environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=self.instrument(),
            side=common_pb2.SIDE_SELL,
            order_qty=Number.parse(quantity).message(),
            order_type=common_pb2.ORDER_TYPE_MARKET,
            time_in_force=common_pb2.TIME_IN_FORCE_DAY,
            leverage=1,
            exit_warrant=tokens.sign_warrant(self.key, claims),
            open_qty=Number.parse(open_quantity).message(),
        )

    def cancel(self, client_order_id: str, trade_id: str = "intent-1") -> journal_pb2.VenueCommand:
        return journal_pb2.VenueCommand(
            kind=journal_pb2.COMMAND_KIND_CANCEL,
            client_order_id=client_order_id,
            trade_id=trade_id,
            account=self.account,
            venue=self.venue,
            environment=common_pb2.ENVIRONMENT_PAPER,
            instrument=self.instrument(),
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()
