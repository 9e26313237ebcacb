"""Random sequences, compared; what differs is shrunk to the few acts that show it."""

from __future__ import annotations

import hashlib
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.reference import reach
from tests.reference.acts import Act, tell_act
from tests.reference.generate import World, config_of
from tests.reference.inputs import Input
from tests.reference.pair import Difference, Pair

SEQUENCE_LENGTH = 500
"""Acts of one seed, over both its accounts."""


@dataclass(slots=True)
class Sequence:
    """What was done under one seed, as far as it came, and what came of it."""

    seed: int
    acts: list[Act] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)
    difference: str = ""
    summary: str = ""


def run_seed(seed: int, length: int = SEQUENCE_LENGTH, tell: Callable[[Act], None] | None = None) -> Sequence:
    """Two accounts, interleaved, with restarts, compared step by step; ``tell`` hears of each act before it is done."""
    random = Random(f"sequence {seed}")
    digest_every = random.choice([1, 5, 5, 20])
    pairs = [Pair(config_of(2 * seed + account), digest_every) for account in range(2)]
    worlds = [World(2 * seed + account, pair.config) for account, pair in enumerate(pairs)]
    sequence = Sequence(seed)
    restarts = random.choice([0, 0.01, 0.03, 0.1])
    try:
        for _ in range(length):
            account = int(random.random() < 0.4)
            is_restart = random.random() < restarts
            value = None if is_restart else worlds[account].next(pairs[account].reference.state)
            sequence.acts.append(Act(account, value))
            if tell is not None:
                tell(sequence.acts[-1])
            _perform(pairs[account], value)
        _finish(pairs)
    except Exception as error:
        sequence.difference = _tell_failure(error)
    for pair in pairs:
        sequence.reached += pair.reached
    sequence.summary = hashlib.sha256(b"".join(pair.subject.digest() for pair in pairs)).hexdigest()
    return sequence


def replay_acts(acts: list[Act], seed: int) -> str:
    """Do the same again, all digests compared; returns the difference, if there is one."""
    pairs = [Pair(config_of(2 * seed + account)) for account in range(2)]
    try:
        for act in acts:
            _perform(pairs[act.account], act.value)
        _finish(pairs)
    except Exception as error:
        return _tell_failure(error)
    return ""


def _tell_failure(error: Exception) -> str:
    """Anything but a difference is a bug of the reference, or a status that no input may cause."""
    return str(error) if isinstance(error, Difference) else traceback.format_exc()


def _perform(pair: Pair, value: Input | None) -> None:
    if value is None:
        pair.restart()
    else:
        pair.apply(value)


def _finish(pairs: list[Pair]) -> None:
    for pair in pairs:
        pair.compare_all()
        pair.replay()
        pair.reached.update(reach.corners(pair.reference.state))


def shrink(sequence: Sequence) -> list[Act]:
    """The acts that still show a difference when all others are left out (delta debugging)."""
    acts = list(sequence.acts)
    size = max(1, len(acts) // 2)
    while size >= 1:
        at = 0
        while at < len(acts):
            fewer = acts[:at] + acts[at + size :]
            if replay_acts(fewer, sequence.seed):
                acts = fewer
            else:
                at += size
        size //= 2
    return acts


def trace(sequence: Sequence) -> str:
    """A failed sequence, shrunk, and how to see it again."""
    acts = shrink(sequence)
    return "\n".join(
        [
            f"seed {sequence.seed}: the reference and the library differ",
            *(f"  {index + 1:>3}  {tell_act(act)}" for index, act in enumerate(acts)),
            replay_acts(acts, sequence.seed),
            f"again: python -m tests.reference --seed {sequence.seed} --inputs 1",
        ]
    )
