"""How well the venue behaves, and what it has in store for one order (T15).

Chance is an argument: what happens to an order follows from the seed and its client order id alone, never from
the order of arrival, so two runs with the same ids see the same venue.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from kestrel_domain.errors import InvalidRequest
from kestrel_domain.timestamps import SECOND_NS

PPM = 1_000_000
DELAY_NS_MIN, DELAY_NS_MAX = 10 * SECOND_NS, 30 * SECOND_NS
PARTIAL_PPM_MIN, PARTIAL_PPM_MAX = 250_000, 750_000


class Mode(Enum):
    """The venue's manners."""

    INSTANT = "instant"
    REALISTIC = "realistic"
    ADVERSARIAL = "adversarial"

    @classmethod
    def parse(cls, text: str) -> Mode:
        try:
            return cls(text.lower())
        except ValueError:
            raise InvalidRequest.of("mode", text, "one of " + ", ".join(mode.value for mode in cls)) from None


class Fate(Enum):
    """What the venue does with one order."""

    FILL = "fill"
    PARTIAL = "partial"
    REJECT = "reject"
    DELAY = "delay"


# Of 100 orders: filled at once, filled in two parts, rejected, delayed.
_SHARES: dict[Mode, tuple[tuple[Fate, int], ...]] = {
    Mode.INSTANT: ((Fate.FILL, 100),),
    Mode.REALISTIC: ((Fate.FILL, 90), (Fate.PARTIAL, 5), (Fate.REJECT, 3), (Fate.DELAY, 2)),
    Mode.ADVERSARIAL: ((Fate.FILL, 70), (Fate.PARTIAL, 15), (Fate.REJECT, 10), (Fate.DELAY, 5)),
}


@dataclass(frozen=True, slots=True)
class Chance:
    """The settings of chance. ``delay_scale_permille`` multiplies the 10 to 30 s: 1000 leaves them as they are."""

    mode: Mode = Mode.INSTANT
    seed: int = 0
    delay_scale_permille: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**64:
            raise InvalidRequest.of("seed", self.seed, "0 to 2^64 - 1")
        if not 0 <= self.delay_scale_permille <= 1_000_000:
            raise InvalidRequest.of("delay_scale_permille", self.delay_scale_permille, "0 to 1000000")


@dataclass(frozen=True, slots=True)
class Fortune:
    """What fell to one order: its fate, the first part of a partial fill, its delay, its slippage (0 to 1)."""

    fate: Fate
    part_ppm: int
    delay_ns: int
    slippage_ppm: int


def draw(chance: Chance, client_order_id: str) -> Fortune:
    """The fortune of one order. Pure: the same chance and id always draw the same."""
    digest = hashlib.sha256(b"kestrel/paper/lot\0" + chance.seed.to_bytes(8, "big") + client_order_id.encode()).digest()
    place, part, delay, slippage = (int.from_bytes(digest[at : at + 8], "big") for at in (0, 8, 16, 24))
    delay_ns = DELAY_NS_MIN + delay % (DELAY_NS_MAX - DELAY_NS_MIN + 1)
    return Fortune(
        fate=_fate(chance.mode, place % 100),
        part_ppm=PARTIAL_PPM_MIN + part % (PARTIAL_PPM_MAX - PARTIAL_PPM_MIN + 1),
        delay_ns=delay_ns * chance.delay_scale_permille // 1000,
        slippage_ppm=0 if chance.mode is Mode.INSTANT else slippage % (PPM + 1),
    )


def _fate(mode: Mode, place: int) -> Fate:
    for fate, share in _SHARES[mode]:
        if place < share:
            return fate
        place -= share
    raise AssertionError(f"the shares of {mode} do not add up to 100")
