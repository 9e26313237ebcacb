"""Every reason code governance can give: what it means and what to do. The runbooks are generated from this table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvariantBroken

INFO, WARNING, CRITICAL = common_pb2.SEVERITY_INFO, common_pb2.SEVERITY_WARNING, common_pb2.SEVERITY_CRITICAL


@dataclass(frozen=True, slots=True)
class Reason:
    """One code; ``severity`` is that of the alert when it denies an intent."""

    code: str
    meaning: str
    what_to_do: str
    severity: common_pb2.Severity.ValueType = WARNING

    @property
    def runbook(self) -> str:
        return f"docs/operations/{self.code.lower()}.md"


_TABLE = (
    Reason(
        "INVALID_INTENT",
        "A field of the intent is missing, malformed or outside what the instrument and the account allow.",
        "Correct the proposer: the check names the field, the value and the rule. Propose again under a new id.",
    ),
    Reason(
        "INTENT_REUSED",
        "An intent id and attempt came again with other bytes than the first time.",
        "Find the proposer that derives one id from two causes. The first intent stands; the second is parked.",
    ),
    Reason(
        "KILL_ACTIVE",
        "A kill flag covers the intent, or the flags cannot be read, which counts as killed.",
        "See `kestrel status` for who raised it and why. Two people re-arm, once the cause is gone.",
    ),
    Reason(
        "ATTEMPT_SUPERSEDED",
        "A later attempt of the same intent was authorized; an older one is not wanted any more, whoever approves it.",
        "Nothing. Is the trade wanted again, propose it again.",
    ),
    Reason(
        "STATE_CONFLICT",
        "The state the decision was taken on is too old; the strategy is stopped for five minutes.",
        "Refresh the strategy's state and let it decide again. Look for a stalled feed or a slow approver.",
        CRITICAL,
    ),
    Reason(
        "STATE_STALE",
        "Age of the state anchor: how long ago the state behind the decision was true.",
        "Nothing on a warning but to decide soon; past the limit see STATE_CONFLICT.",
    ),
    Reason(
        "MIN_SIZE", "The quantity is below the least that may be ordered.", "Check the sizer; it must answer 0 instead."
    ),
    Reason(
        "MAX_SIZE",
        "The quantity is above the most that may be ordered.",
        "Check units and sizer. Split only if the plan was to split.",
    ),
    Reason(
        "ORDER_NOTIONAL",
        "The order's notional is above the absolute cap or its share of equity.",
        "Reduce the order, or change the risk configuration by its own procedure.",
    ),
    Reason(
        "TOTAL_EXPOSURE",
        "Positions, working entries, reservations and this order together exceed the share of equity allowed.",
        "Wait for exits, or reduce. `kestrel positions` and `kestrel orders` show what is held.",
    ),
    Reason(
        "LEVERAGE",
        "Projected gross exposure over equity is above the limit.",
        "Reduce positions before adding new ones.",
    ),
    Reason(
        "SYMBOL_EXPOSURE",
        "Projected exposure in this symbol is above its share of equity.",
        "Reduce the order, or the position in this symbol.",
    ),
    Reason(
        "OPEN_POSITIONS",
        "As many trades are open or authorized as the account may hold.",
        "Wait for a slot to become free.",
    ),
    Reason(
        "SYMBOL_BUSY",
        "Another trade in this symbol is open or authorized; the venue would net the two.",
        "Leave that trade first, or wait until it is over.",
    ),
    Reason(
        "DUPLICATE",
        "Same account, symbol, side and quantity as another intent a moment ago.",
        "If it is meant, propose it again after the window; if not, find why the proposer repeated itself.",
    ),
    Reason(
        "RATE_ORDER",
        "More entries were authorized in the window than allowed.",
        "Wait. If it lasts, look for a strategy in a loop and kill it.",
    ),
    Reason(
        "STOP_REQUIRED",
        "There is no stop, or it is on the winning side, or too far from the entry.",
        "Correct the stop: below a buy, above a sell, within the distance allowed.",
    ),
    Reason(
        "RISK_PER_TRADE",
        "What the trade loses at its stop is more than the share of equity allowed.",
        "Reduce the quantity or tighten the stop.",
    ),
    Reason(
        "BUYING_POWER",
        "The margin of this order and of everything reserved exceeds what is available, less the buffer.",
        "Wait for exits or fund the account.",
    ),
    Reason(
        "PRICE_COLLAR",
        "The limit price is too far from the reference price.",
        "Check for a wrong unit or an old price; decide again on a fresh one.",
    ),
    Reason(
        "REFERENCE_PRICE",
        "The price the decision was taken at is far from the market's, or the intent's instrument is not the venue's.",
        "Check units, instrument version and the age of the decider's prices; decide again on a fresh one.",
    ),
    Reason(
        "ACCOUNT_FROZEN",
        "The kernel has frozen entries of this account, or its state is not known.",
        "See `kestrel account` for the reason. A ledger freeze lifts by itself once the books agree again.",
        CRITICAL,
    ),
    Reason(
        "CAPITAL_UNKNOWN",
        "The account's capital is not known, not positive, or not yet confirmed by the venue.",
        "Check that the gateway is connected and has published a balance.",
        CRITICAL,
    ),
    Reason(
        "FOUR_EYES",
        "The person who asks already played the other part: proposer and approver, or both halves of a re-arm.",
        "Ask a second person.",
    ),
    Reason(
        "EVIDENCE_CHANGED",
        "What was approved is not what is current: a check's verdict changed since it was shown.",
        "Look at the intent again and decide on what it shows now.",
    ),
    Reason(
        "EVIDENCE_MISMATCH",
        "The evidence hash of the approval is not the hash of what is shown now.",
        "Look at it again: `kestrel inbox` shows the evidence, and `kestrel approve` sends its hash along.",
    ),
    Reason(
        "NOT_PENDING",
        "Nothing under this id waits for a person.",
        "See `kestrel inbox` for what does. It may have expired, or somebody else decided it.",
    ),
    Reason("INTENT_EXPIRED", "Nobody decided before the intent expired.", "Nothing, or propose it again."),
    Reason(
        "TOKEN_EXPIRED",
        "A token was issued and not used within its five minutes.",
        "Check kernel and gateway: the entry never got that far.",
    ),
    Reason("MANDATE_UNKNOWN", "No mandate has this id.", "See `kestrel mandate list --all`."),
    Reason(
        "MANDATE_NEARLY_USED",
        "A mandate has reached four fifths of its count or its total.",
        "Grant the next one in time, or let this one run out: further intents then wait for a person.",
    ),
    Reason("KILL_RAISED", "A kill flag was raised.", "Find out why. Exits still work. Two people re-arm.", CRITICAL),
    Reason("KILL_LOWERED", "Two people lowered a kill flag.", "Watch the first entries.", WARNING),
    Reason("FLAG_UNKNOWN", "No such kill flag is raised.", "See `kestrel status`."),
)

REASONS: dict[str, Reason] = {reason.code: reason for reason in _TABLE}


def of(code: str) -> Reason:
    """The reason with this code; an unknown code is a defect of ours."""
    if code not in REASONS:
        raise InvariantBroken(f"reason {code} is not in the table", reason="REASON_UNKNOWN", value=code)
    return REASONS[code]


@cache  # each check of each decision names its page
def runbook(code: str) -> str:
    """The page that says what to do about it."""
    return of(code).runbook


def markdown_table() -> str:
    """The table as documentation shows it."""
    rows = [f"| {reason.code} | {reason.meaning} | {reason.what_to_do} |" for reason in _TABLE]
    return "\n".join(["| code | meaning | what to do |", "|---|---|---|", *rows]) + "\n"
