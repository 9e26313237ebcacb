"""Kill flags (T07): who is covered, how a flag is raised, and how two people lower it.

One person raises a flag; it never blocks an exit. Lowering takes two different people. A temporary flag lapses by
itself. Per scope and target there is at most one lasting and one temporary flag.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.intent.v1 import intent_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel_domain import effects, subjects
from kestrel_domain.effects import Publish
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_domain.identifiers import checked_id, checked_symbol, derived_id, partition_of
from kestrel_governance.core import beads
from kestrel_governance.core.limits import AccountRule


@dataclass(frozen=True, slots=True)
class RaiseFlag:
    """An effect: merge one flag into the bucket, by compare and set, before anything that comes after it."""

    flag: authority_pb2.KillFlag


Flags = authority_pb2.KillFlags
Flag = authority_pb2.KillFlag
Scope = authority_pb2.KillScope


def parse(stored: bytes | None) -> Flags | None:
    """The flags in the bucket's value; nothing stored yet is no flags; unparsable is None, which counts as killed."""
    flags = Flags()
    if stored is None:
        return flags
    try:
        flags.ParseFromString(stored)
    except DecodeError:
        return None
    return flags


def unreadable(now_ns: int) -> Flags:
    """What stands in for flags that cannot be read: everything is killed until two people say otherwise."""
    actor = common_pb2.Actor(id="governance", kind="service")
    return Flags(
        flags=[
            Flag(
                scope=authority_pb2.KILL_SCOPE_GLOBAL,
                level=authority_pb2.KILL_LEVEL_BLOCK_ENTRIES,
                reason="the stored kill flags could not be read",
                set_by=actor,
                set_at_ns=now_ns,
            )
        ]
    )


def is_active(flag: Flag, now_ns: int) -> bool:
    return flag.expires_at_ns == 0 or flag.expires_at_ns > now_ns


def covering(flags: Flags, intent: intent_pb2.Intent, now_ns: int) -> list[Flag]:
    """The active flags that stop this intent."""
    targets = {
        authority_pb2.KILL_SCOPE_GLOBAL: "",
        authority_pb2.KILL_SCOPE_VENUE: intent.venue,
        authority_pb2.KILL_SCOPE_ACCOUNT: intent.account,
        authority_pb2.KILL_SCOPE_STRATEGY: intent.strategy,
        authority_pb2.KILL_SCOPE_SYMBOL: intent.instrument.symbol,
    }

    def covers(flag: Flag) -> bool:
        # A scope this version does not know covers everything: doubt stops entries.
        return flag.scope not in targets or flag.target == targets[flag.scope]

    return [flag for flag in flags.flags if is_active(flag, now_ns) and covers(flag)]


def checked(flag: Flag) -> Flag:
    """Raises ``InvalidRequest`` for a flag that names nothing."""
    if flag.scope not in Scope.values() or flag.scope == authority_pb2.KILL_SCOPE_UNSPECIFIED:
        raise InvalidRequest.of("scope", flag.scope, "GLOBAL, VENUE, ACCOUNT, STRATEGY or SYMBOL")
    levels = authority_pb2.KillLevel.values()
    if flag.level not in levels or flag.level == authority_pb2.KILL_LEVEL_UNSPECIFIED:
        raise InvalidRequest.of("level", flag.level, "BLOCK_ENTRIES, CANCEL_WORKING or FLATTEN")
    if flag.scope == authority_pb2.KILL_SCOPE_GLOBAL:
        if flag.target:
            raise InvalidRequest.of("target", flag.target, "empty for a GLOBAL flag")
    elif flag.scope == authority_pb2.KILL_SCOPE_SYMBOL:
        checked_symbol("target", flag.target)
    else:
        checked_id("target", flag.target)
    return flag


def raised(flags: Flags, flag: Flag, now_ns: int) -> Flags:
    """The flags with this one among them. A raise never weakens or shortens what is raised; lapsed flags go."""
    kept = Flags(flags=[other for other in flags.flags if is_active(other, now_ns)])
    for other in kept.flags:
        same_place = (other.scope, other.target) == (flag.scope, flag.target)
        if same_place and bool(other.expires_at_ns) == bool(flag.expires_at_ns):
            if flag.level > other.level or flag.expires_at_ns > other.expires_at_ns:
                level, expires_at_ns = max(flag.level, other.level), max(flag.expires_at_ns, other.expires_at_ns)
                other.CopyFrom(flag)
                other.level, other.expires_at_ns = level, expires_at_ns
            # Whoever proposed to lower it did so before this raise: they have to look again.
            other.ClearField("rearm_proposed_by")
            other.rearm_proposed_at_ns = 0
            return kept
    kept.flags.append(flag)
    return kept


def rearmed(
    flags: Flags, scope: Scope.ValueType, target: str, actor: common_pb2.Actor, now_ns: int
) -> tuple[Flags, bool, list[Flag]]:
    """``(flags, completed, the flags as lowered or proposed)``. The first person proposes, a second completes.

    Raises ``Refused`` FLAG_UNKNOWN when nothing is raised there, FOUR_EYES when the same person asks twice.
    """
    after = Flags(flags=flags.flags)  # a copy: the caller compares it with what was stored
    meant = [flag for flag in after.flags if (flag.scope, flag.target) == (scope, target) and is_active(flag, now_ns)]
    if not meant:
        raise Refused(
            f"no kill flag is raised for {name(Flag(scope=scope, target=target))}",
            reason="FLAG_UNKNOWN",
            field="target",
            value=target,
            rule="a raised flag",
        )
    if waiting := [flag for flag in meant if not flag.HasField("rearm_proposed_by")]:
        for flag in waiting:
            flag.rearm_proposed_by.CopyFrom(actor)
            flag.rearm_proposed_at_ns = now_ns
        return after, False, waiting
    if any(flag.rearm_proposed_by.id == actor.id for flag in meant):
        raise Refused(
            "a second person has to complete the re-arm",
            reason="FOUR_EYES",
            field="actor",
            value=actor.id,
            rule="two different operators re-arm",
        )
    remaining = Flags(flags=[flag for flag in after.flags if flag not in meant])
    for flag in meant:
        flag.rearmed_by.CopyFrom(actor)
        flag.rearmed_at_ns = now_ns
    return remaining, True, meant


def raise_id(flag: Flag) -> str:
    """Identity of the flag as it was raised, whatever was proposed since."""
    return derived_id("kill", "raised", flag.scope, flag.target, flag.level, flag.set_at_ns)


def bead_id(flag: Flag) -> str:
    """Identity of what the bead says: raised, proposed to lower, or lowered."""
    when = flag.rearmed_at_ns or flag.rearm_proposed_at_ns
    if not when:
        return raise_id(flag)
    step = "lowered" if flag.rearmed_at_ns else "proposed"
    return derived_id("kill", step, flag.scope, flag.target, flag.level, when)


def name(flag: Flag) -> str:
    """For people: "SYMBOL AAPL"; also for a scope that this version does not know."""
    known = flag.scope in Scope.values()
    scope = Scope.Name(flag.scope).removeprefix("KILL_SCOPE_") if known else f"SCOPE_{flag.scope}"
    return f"{scope} {flag.target}".strip()


def consequences(flag: Flag, accounts: Mapping[str, AccountRule], partitions: int) -> list[Publish]:
    """What follows once a flag is raised: its bead, its alert, and what its level asks of the kernel."""
    raised_flag = Flag()
    raised_flag.CopyFrom(flag)
    raised_flag.ClearField("rearm_proposed_by")
    raised_flag.rearm_proposed_at_ns = 0
    account = flag.target if flag.scope == authority_pb2.KILL_SCOPE_ACCOUNT else ""
    message = f"kill flag {name(flag)} raised by {flag.set_by.id}: {flag.reason}"
    return [
        bead(raised_flag, flag.set_by),
        beads.alert("KILL_RAISED", message, bead_id(raised_flag), account, flag.set_at_ns),
        *(_at_the_door(control, partitions) for control in controls(raised_flag, accounts)),
    ]


def bead(flag: Flag, actor: common_pb2.Actor) -> Publish:
    """The flag as raised, proposed to be lowered, or lowered."""
    return effects.bead(
        audit_pb2.Bead(
            bead_id=bead_id(flag),
            account=flag.target if flag.scope == authority_pb2.KILL_SCOPE_ACCOUNT else subjects.NO_ACCOUNT,
            created_at_ns=flag.rearmed_at_ns or flag.rearm_proposed_at_ns or flag.set_at_ns,
            actor=actor,
            kill=flag,
        )
    )


def controls(flag: Flag, accounts: Mapping[str, AccountRule]) -> Iterator[inbox_pb2.Control]:
    """What the flag's level asks of the kernel, for every account in its scope; its ids follow from the flag."""
    actions = []
    if flag.level >= authority_pb2.KILL_LEVEL_CANCEL_WORKING:
        actions.append(inbox_pb2.CONTROL_ACTION_CANCEL_WORKING_ENTRIES)
    if flag.level >= authority_pb2.KILL_LEVEL_FLATTEN:
        actions.append(inbox_pb2.CONTROL_ACTION_FLATTEN)
    for account, rule in sorted(accounts.items()):
        if flag.scope == authority_pb2.KILL_SCOPE_ACCOUNT and flag.target != account:
            continue
        if flag.scope == authority_pb2.KILL_SCOPE_VENUE and flag.target != rule.venue:
            continue
        for action in actions:
            yield inbox_pb2.Control(
                request_id=derived_id("kill-control", bead_id(flag), account, action),
                account=account,
                action=action,
                strategy=flag.target if flag.scope == authority_pb2.KILL_SCOPE_STRATEGY else "",
                symbol=flag.target if flag.scope == authority_pb2.KILL_SCOPE_SYMBOL else "",
                reason=flag.reason,
                requested_by=flag.set_by,
            )


def _at_the_door(control: inbox_pb2.Control, partitions: int) -> Publish:
    subject = subjects.inbox(partition_of(control.account, partitions), control.account, "control")
    return effects.publish(subject, inbox_pb2.InboxMessage(control=control), control.request_id)
