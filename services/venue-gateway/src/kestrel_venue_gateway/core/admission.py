"""May this command go to a venue? The last gate: whatever has no valid token or warrant stops here.

An entry passes a list of refusals, in this order: form, expiry of the command, kill flags, age of the state it was
decided on, genuineness of the token, expiry of the token, and then every field three ways: the command against
the stored intent, the token against both. An exit passes its warrant. Nothing here changes anything; a refusal is
a value with a reason, and ``None`` means "go on".

Doubt refuses entries and never exits: kill flags that cannot be read count as raised, and exits never look at them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from google.protobuf.message import DecodeError

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import journal_pb2
from kestrel_domain import identifiers, tokens
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.traits import STRONG, Traits

STOP_SUFFIX, TARGET_SUFFIX = "-S", "-T"
"""How the protective orders of a bracket are named, behind the client order id of their entry."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What the gateway holds commands to: whose commands, with which key, on how old a state."""

    account: str
    venue: str
    environment: common_pb2.Environment.ValueType
    key: tokens.VerifyingKey
    anchor_age_ns_max: int
    clock_skew_ns_max: int
    # What the venue can prove; the procedures rely on nothing else.
    traits: Traits = STRONG
    # Which session this is: marks that have to tell one run of a command from another carry it.
    run: str = ""


@dataclass(frozen=True, slots=True)
class FlagsRead:
    """One leader read of the kill flags. ``value`` is empty when no flag was ever raised."""

    reachable: bool
    value: bytes
    now_ns: int


@dataclass(frozen=True, slots=True)
class EntryPapers:
    """What an entry command carries. ``token_id`` names the single use; ``claims`` are there if it is genuine."""

    intent: intent_pb2.Intent
    token_id: str
    claims: authority_pb2.TokenClaims | None
    token_fault: common_pb2.Refusal | None


def read_papers(gate: Gate, command: journal_pb2.VenueCommand) -> EntryPapers | None:
    """The stored intent, its token, and the token's id, which follows from intent id and attempt. None: unreadable."""
    try:
        intent = intent_pb2.Intent.FromString(command.intent)
        identifiers.checked_id("intent_id", intent.intent_id)
    except (DecodeError, InvalidRequest):
        return None
    token_id = identifiers.token_id(intent.intent_id, intent.attempt)
    try:
        claims = tokens.read_token(gate.key, command.token, stored_intent=command.intent)
    except Refused as refused:
        return EntryPapers(intent, token_id, None, refused.refusal())
    return EntryPapers(intent, token_id, claims, None)


def unreadable_intent() -> common_pb2.Refusal:
    """The answer to a command without papers: it has no token that could be closed."""
    return refusal("INTENT_INVALID", "intent", "", "the stored bytes of an Intent", "the intent cannot be read")


def check_entry(
    gate: Gate,
    command: journal_pb2.VenueCommand,
    papers: EntryPapers | None,
    flags: FlagsRead,
    protective: Sequence[journal_pb2.VenueCommand] = (),
) -> common_pb2.Refusal | None:
    """The whole list, in its order. The first "no" is the answer.

    ``protective``: the orders that go out with the entry, under its token.
    """
    if papers is None:
        return unreadable_intent()
    try:
        return (
            check_addressee(gate, command)
            or check_still_wanted(gate, command, flags)
            or _check_anchor(gate, papers.intent, flags.now_ns)
            or _check_token(gate, command, papers, flags.now_ns)
            or _check_bracket(gate, command, papers.intent, protective)
        )
    except InvalidRequest as error:
        return error.refusal()


def check_still_wanted(gate: Gate, command: journal_pb2.VenueCommand, flags: FlagsRead) -> common_pb2.Refusal | None:
    """Expiry and kill flags: what may change between the first check and the sending, and so is asked twice."""
    if command.expires_at_ns <= flags.now_ns:
        return refusal(
            "COMMAND_EXPIRED",
            "expires_at_ns",
            command.expires_at_ns,
            f"later than now, {flags.now_ns}",
            "the command reached the gateway after its time",
        )
    return _check_kill_flags(command, flags)


def check_exit(gate: Gate, command: journal_pb2.VenueCommand, committed_qty: Number) -> common_pb2.Refusal | None:
    """The warrant, the trade it binds, and both bounds on the quantity: what is open, and what was ever warranted.

    ``committed_qty``: what earlier exit orders of the trade filled or may still fill.
    """
    try:
        return check_addressee(gate, command) or _check_warrant(gate, command, committed_qty)
    except InvalidRequest as error:
        return error.refusal()


def check_addressee(gate: Gate, command: journal_pb2.VenueCommand) -> common_pb2.Refusal | None:
    """The command is for this account, venue and environment, and its order is named as ours."""
    if not command.client_order_id.startswith(identifiers.CLIENT_ORDER_ID_PREFIX):
        return mismatch("client_order_id", command.client_order_id, f"begins {identifiers.CLIENT_ORDER_ID_PREFIX}")
    if command.account != gate.account:
        return mismatch("account", command.account, gate.account)
    if command.venue != gate.venue:
        return mismatch("venue", command.venue, gate.venue)
    if command.environment != gate.environment:
        return mismatch("environment", _environment(command.environment), _environment(gate.environment))
    return None


def refusal(reason: str, field: str, value: object, rule: str, message: str) -> common_pb2.Refusal:
    return common_pb2.Refusal(reason=reason, field=field, value=str(value)[:256], rule=rule, message=message)


def mismatch(field: str, value: object, rule: object, *, reason: str = "COMMAND_MISMATCH") -> common_pb2.Refusal:
    message = f"{field} is {str(value)[:64]!r} in one place and {str(rule)[:64]!r} in another"
    return refusal(reason, field, value, str(rule)[:256], message)


# --- kill flags ------------------------------------------------------------------------------------------------


def _check_kill_flags(command: journal_pb2.VenueCommand, read: FlagsRead) -> common_pb2.Refusal | None:
    if not read.reachable:
        return refusal("KILL_STATE_UNKNOWN", "flags", "", "readable", "the kill flags cannot be read, so they count")
    try:
        flags = authority_pb2.KillFlags.FromString(read.value).flags
    except DecodeError:
        return refusal("KILL_STATE_UNKNOWN", "flags", "", "KillFlags", "the kill flags make no sense, so they count")
    for flag in flags:
        if _is_in_force(flag, read.now_ns) and _covers(flag, command):
            scope = _name(authority_pb2.KillScope.Name, flag.scope).removeprefix("KILL_SCOPE_").lower()
            return refusal(
                "KILL_ACTIVE",
                "kill_flag",
                f"{scope} {flag.target}".strip(),
                "no kill flag on what the order touches",
                f"entries are blocked: {flag.reason or 'no reason given'}",
            )
    return None


def _is_in_force(flag: authority_pb2.KillFlag, now_ns: int) -> bool:
    return flag.expires_at_ns == 0 or flag.expires_at_ns > now_ns


def _covers(flag: authority_pb2.KillFlag, command: journal_pb2.VenueCommand) -> bool:
    targets = {
        authority_pb2.KILL_SCOPE_VENUE: command.venue,
        authority_pb2.KILL_SCOPE_ACCOUNT: command.account,
        authority_pb2.KILL_SCOPE_STRATEGY: command.strategy,
        authority_pb2.KILL_SCOPE_SYMBOL: command.instrument.symbol,
    }
    # A scope this version does not know covers everything: a flag that cannot be understood is not a weaker flag.
    return flag.scope not in targets or targets[flag.scope] == flag.target


# --- entries ---------------------------------------------------------------------------------------------------


def _check_anchor(gate: Gate, intent: intent_pb2.Intent, now_ns: int) -> common_pb2.Refusal | None:
    """The state the decision stands on is known and young enough (T06)."""
    age_ns = now_ns - intent.anchor.as_of_ns
    if intent.anchor.as_of_ns > 0 and -gate.clock_skew_ns_max <= age_ns <= gate.anchor_age_ns_max:
        return None
    return refusal(
        "STATE_CONFLICT",
        "anchor.as_of_ns",
        intent.anchor.as_of_ns,
        f"at most {gate.anchor_age_ns_max} ns old at {now_ns}",
        "the state this was decided on is too old, or its age cannot be told",
    )


def _check_token(
    gate: Gate, command: journal_pb2.VenueCommand, papers: EntryPapers, now_ns: int
) -> common_pb2.Refusal | None:
    claims = papers.claims
    if claims is None:
        return papers.token_fault
    return (
        _check_claims_against_intent(claims, papers)
        or _check_token_environment(gate, claims)
        or _check_token_time(gate, claims, now_ns)
        or _first_difference(_command_beside_intent(command, papers))
    )


def _check_claims_against_intent(claims: authority_pb2.TokenClaims, papers: EntryPapers) -> common_pb2.Refusal | None:
    intent = papers.intent
    pairs: list[tuple[str, object, object]] = [
        ("intent_id", claims.intent_id, intent.intent_id),
        ("attempt", claims.attempt, intent.attempt),
        ("token_id", claims.token_id, papers.token_id),
        ("account", claims.account, intent.account),
        ("venue", claims.venue, intent.venue),
        ("anchor.hash", claims.anchor.hash, intent.anchor.hash),
        ("anchor.as_of_ns", claims.anchor.as_of_ns, intent.anchor.as_of_ns),
    ]
    for field, claimed, intended in pairs:
        if claimed != intended:
            return mismatch(field, claimed, intended, reason="TOKEN_WRONG_INTENT")
    return None


def _check_token_environment(gate: Gate, claims: authority_pb2.TokenClaims) -> common_pb2.Refusal | None:
    if claims.environment == gate.environment:
        return None
    value, rule = _environment(claims.environment), _environment(gate.environment)
    return mismatch("environment", value, rule, reason="TOKEN_ENVIRONMENT")


def _check_token_time(gate: Gate, claims: authority_pb2.TokenClaims, now_ns: int) -> common_pb2.Refusal | None:
    if claims.expires_at_ns <= now_ns:
        return refusal(
            "TOKEN_EXPIRED",
            "token.expires_at_ns",
            claims.expires_at_ns,
            f"later than now, {now_ns}",
            "the token's five minutes are over",
        )
    if claims.issued_at_ns > now_ns + gate.clock_skew_ns_max:
        return refusal(
            "TOKEN_INVALID",
            "token.issued_at_ns",
            claims.issued_at_ns,
            f"not later than now, {now_ns}",
            "the token comes from the future",
        )
    return None


def _command_beside_intent(
    command: journal_pb2.VenueCommand, papers: EntryPapers
) -> Iterator[tuple[str, object, object]]:
    """Every term of the order: what the command says, what was approved."""
    intent = papers.intent
    yield "client_order_id", command.client_order_id, identifiers.entry_client_order_id(papers.token_id)
    yield "trade_id", command.trade_id, intent.intent_id
    yield "account", command.account, intent.account
    yield "venue", command.venue, intent.venue
    yield "environment", _environment(command.environment), _environment(intent.environment)
    yield "strategy", command.strategy, intent.strategy
    yield "instrument.symbol", command.instrument.symbol, intent.instrument.symbol
    yield "instrument.multiplier", command.instrument.multiplier, intent.instrument.multiplier
    yield "instrument.currency", command.instrument.currency, intent.instrument.currency
    yield "side", _name(common_pb2.Side.Name, command.side), _name(common_pb2.Side.Name, intent.side)
    yield "order_qty", _positive("order_qty", command.order_qty), Number.of(intent.order_qty)
    yield (
        "order_type",
        _name(common_pb2.OrderType.Name, command.order_type),
        _name(common_pb2.OrderType.Name, intent.order_type),
    )
    yield "price", _optional(command, "price"), _optional(intent, "price")
    yield (
        "time_in_force",
        _name(common_pb2.TimeInForce.Name, command.time_in_force),
        _name(common_pb2.TimeInForce.Name, intent.time_in_force),
    )
    yield "leverage", command.leverage, intent.leverage


# --- brackets --------------------------------------------------------------------------------------------------


def _check_bracket(
    gate: Gate,
    command: journal_pb2.VenueCommand,
    intent: intent_pb2.Intent,
    protective: Sequence[journal_pb2.VenueCommand],
) -> common_pb2.Refusal | None:
    """The token is for the whole: each protective order is the one that was approved, and none is missing."""
    if protective and not gate.traits.brackets:
        message = "this venue cannot hold protective orders together with their entry"
        return refusal("VENUE_CANNOT", "bracket", True, "false at this venue", message)
    approved = list(_approved_protection(intent)) if intent.bracket else []
    if len(protective) != len(approved):
        return mismatch("protective_order_count", len(protective), len(approved))
    group = command.client_order_id if intent.bracket else ""
    if command.group != group:
        return mismatch("group", command.group, group)
    for order, (suffix, order_type, price) in zip(protective, approved, strict=True):
        no = check_addressee(gate, order) or _first_difference(_beside_entry(order, command, suffix, order_type, price))
        if no is not None:
            return no
    return None


def _approved_protection(
    intent: intent_pb2.Intent,
) -> Iterator[tuple[str, common_pb2.OrderType.ValueType, Number]]:
    """How the approved bracket's orders are named, what they are, and at which price."""
    yield STOP_SUFFIX, common_pb2.ORDER_TYPE_STOP, Number.of(intent.stop_price)
    if intent.HasField("target_price"):
        yield TARGET_SUFFIX, common_pb2.ORDER_TYPE_LIMIT, Number.of(intent.target_price)


def _beside_entry(
    order: journal_pb2.VenueCommand,
    command: journal_pb2.VenueCommand,
    suffix: str,
    order_type: common_pb2.OrderType.ValueType,
    price: Number,
) -> Iterator[tuple[str, object, object]]:
    """Every term of a protective order: what the command says, what follows from the entry and its intent."""
    is_buy = command.side == common_pb2.SIDE_BUY
    other_side = common_pb2.SIDE_SELL if is_buy else common_pb2.SIDE_BUY
    yield "protective.client_order_id", order.client_order_id, command.client_order_id + suffix
    yield "protective.trade_id", order.trade_id, command.trade_id
    yield "protective.group", order.group, command.client_order_id
    yield "protective.instrument.symbol", order.instrument.symbol, command.instrument.symbol
    yield "protective.instrument.multiplier", order.instrument.multiplier, command.instrument.multiplier
    yield "protective.instrument.currency", order.instrument.currency, command.instrument.currency
    yield "protective.side", _name(common_pb2.Side.Name, order.side), _name(common_pb2.Side.Name, other_side)
    yield "protective.order_qty", _positive("protective.order_qty", order.order_qty), Number.of(command.order_qty)
    yield (
        "protective.order_type",
        _name(common_pb2.OrderType.Name, order.order_type),
        _name(common_pb2.OrderType.Name, order_type),
    )
    yield "protective.price", _optional(order, "price"), price
    yield "protective.time_in_force", _name(common_pb2.TimeInForce.Name, order.time_in_force), "TIME_IN_FORCE_GTC"


def _first_difference(pairs: Iterator[tuple[str, object, object]]) -> common_pb2.Refusal | None:
    for field, commanded, approved in pairs:
        if commanded != approved:
            return mismatch(field, commanded, approved)
    return None


# --- exits -----------------------------------------------------------------------------------------------------


def _check_warrant(gate: Gate, command: journal_pb2.VenueCommand, committed_qty: Number) -> common_pb2.Refusal | None:
    try:
        claims = tokens.read_warrant(gate.key, command.exit_warrant)
    except Refused as refused:
        return refused.refusal()
    pairs: list[tuple[str, object, object]] = [
        ("trade_id", command.trade_id, claims.trade_id),
        ("account", command.account, claims.account),
        ("venue", command.venue, claims.venue),
        ("environment", _environment(command.environment), _environment(claims.environment)),
        ("symbol", command.instrument.symbol, claims.symbol),
        ("side", _name(common_pb2.Side.Name, command.side), _name(common_pb2.Side.Name, claims.side)),
    ]
    for field, commanded, warranted in pairs:
        if commanded != warranted:
            return mismatch(field, commanded, warranted, reason="WARRANT_MISMATCH")
    return _check_exit_quantity(command, Number.of(claims.order_qty), committed_qty)


def _check_exit_quantity(
    command: journal_pb2.VenueCommand, warranted_qty: Number, committed_qty: Number
) -> common_pb2.Refusal | None:
    order_qty = _positive("order_qty", command.order_qty)
    open_qty = abs(Number.of(command.open_qty))
    if order_qty > open_qty:
        return refusal(
            "EXIT_ABOVE_OPEN",
            "order_qty",
            order_qty,
            f"at most the open quantity, {open_qty}",
            "an exit only ever reduces",
        )
    if committed_qty + order_qty > warranted_qty:
        return refusal(
            "EXIT_ABOVE_WARRANT",
            "order_qty",
            order_qty,
            f"at most {warranted_qty} in all, of which {committed_qty} went to earlier exits",
            "the exits of the trade would add up to more than it can ever hold",
        )
    return None


# --- values ----------------------------------------------------------------------------------------------------


def _positive(field: str, value: common_pb2.Decimal) -> Number:
    number = Number.of(value)
    if number.units <= 0:
        raise InvalidRequest.of(field, number, "above zero", reason="COMMAND_INVALID")
    return number


def _optional(message: journal_pb2.VenueCommand | intent_pb2.Intent, field: Literal["price"]) -> Number | None:
    """Absent is not zero: an order without a limit is another order than one with the limit 0."""
    return Number.of(getattr(message, field)) if message.HasField(field) else None


def _environment(value: common_pb2.Environment.ValueType) -> str:
    return _name(common_pb2.Environment.Name, value)


def _name(namer: Callable[..., str], value: int) -> str:
    """An enum's name; a number that the contract does not know is its own name."""
    try:
        return namer(value)
    except ValueError:
        return str(value)
