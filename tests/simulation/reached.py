"""What runs must really have met: a simulation that never met its faults proves nothing."""

from __future__ import annotations

from collections import Counter

MUST_REACH = (
    "acknowledgement lost",
    "answer lost on the way back",
    "answer about a lease lost",
    "answer of the database lost",
    "answer to a bracket lost",
    "approval refused: FOUR_EYES",
    "approval refused: KILL_ACTIVE",
    "approval refused: SYMBOL_BUSY",
    "books compared",
    "bracket arrives late",
    "bracket proposed",
    "bracket sent",
    "cancel lost",
    "clocks differ",
    "comes to rest while killed",
    "correction booked",
    "database compared",
    "de-duplication forgets",
    "drift found",
    "drift induced",
    "duplicate suppressed",
    "entry sent",
    "epochs count anew",
    "exit sent",
    "exposure checked",
    "fee told late",
    "fill busted",
    "fill corrected",
    "fill of a part",
    "fill taken back",
    "fills",
    "flags unreachable",
    "foreign order heard",
    "further attempt",
    "garbage in the inbox",
    "gateway frozen",
    "gateway killed",
    "governance killed",
    "input came again",
    "intent of the policy",
    "kernel frozen",
    "kernel killed",
    "kernel lease lost",
    "killed",
    "killed between two looks at the flags",
    "late fill",
    "lease acquired",
    "lease checked",
    "lease ended by its own clock",
    "leases unreachable",
    "order canceled",
    "order found after doubt",
    "order provably absent",
    "order rejected by the venue",
    "people re-arm",
    "persistence frozen",
    "persistence killed",
    "person answers",
    "person kills",
    "person passes",
    "policy is behind the journal",
    "policy killed",
    "protective fill",
    "reconciler killed",
    "restored from a snapshot",
    "send arrives late",
    "send lost on the way",
    "send never left",
    "settlement booked",
    "signal ENTER",
    "signal EXIT",
    "signal HOLD",
    "snapshot checked",
    "snapshot torn",
    "spend unknown",
    "stale gateway runs",
    "stale kernel runs",
    "stale owner refused",
    "stale persistence runs",
    "time jumps",
    "token spent by another command",
    "torn snapshot found",
    "truth failed",
    "venue does not answer",
    "venue silent",
)
"""Faults and rare branches that a few short runs reach."""

RARE = (
    "approval refused: ATTEMPT_SUPERSEDED",
    "approval refused: EVIDENCE_CHANGED",
    "approval refused: INTENT_EXPIRED",
    "decided before a bust was known",
    "fill after the cancel",
    "owner ended before it wrote",
)
"""And those that it takes more for."""

WEAK = (
    "absent, which proves nothing",
    "answer lost on the way back",
    "connection breaks",
    "connection refused",
    "correction booked",
    "doubt told",
    "entry sent",
    "event told",
    "event told_before",
    "exit sent",
    "fee told late",
    "fill taken back",
    "fills",
    "gateway frozen",
    "gateway killed",
    "send arrives late",
    "send lost on the way",
    "send never left",
    "send on a closed connection",
    "spend unknown",
    "venue repeats everything",
)
"""What worlds whose venue proves nothing must have met themselves."""

STEPS_FOR_ALL = 1_000_000
"""Steps with faults after which nothing of the above may be missing."""


def missing(total: Counter[str], weak: Counter[str], step_count: int) -> list[str]:
    """What so many steps should have reached, and did not. ``weak``: in worlds whose venue proves nothing."""
    if step_count < STEPS_FOR_ALL:
        return []
    never = [name for name in (*MUST_REACH, *RARE) if not total[name]]
    return never + [f"{name}, at a venue that proves nothing" for name in WEAK if not weak[name]]
