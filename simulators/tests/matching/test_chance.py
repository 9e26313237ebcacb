"""What is drawn for an order."""

from collections import Counter

import pytest

from kestrel_domain.errors import InvalidRequest
from kestrel_domain.timestamps import SECOND_NS
from kestrel_simulators.matching import Chance, Fate, Mode, draw

SHARES = {
    Mode.INSTANT: {Fate.FILL: 100},
    Mode.REALISTIC: {Fate.FILL: 90, Fate.PARTIAL: 5, Fate.REJECT: 3, Fate.DELAY: 2},
    Mode.ADVERSARIAL: {Fate.FILL: 70, Fate.PARTIAL: 15, Fate.REJECT: 10, Fate.DELAY: 5},
}


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_ten_thousand_orders_meet_the_shares_of_the_mode_T15(mode: Mode, seed: int) -> None:
    drawn = Counter(draw(Chance(mode, seed), f"order-{number}").fate for number in range(10_000))
    assert set(drawn) == set(SHARES[mode])
    for fate, share in SHARES[mode].items():
        assert abs(drawn[fate] - share * 100) <= 110, (fate, drawn)  # within 1.1 points: beyond 2.4 sigma at 70 %


def test_the_same_seed_and_id_draw_the_same_and_another_seed_draws_others_T15() -> None:
    first = [draw(Chance(Mode.ADVERSARIAL, 7), f"o{number}") for number in range(500)]
    assert first == [draw(Chance(Mode.ADVERSARIAL, 7), f"o{number}") for number in range(500)]
    assert first != [draw(Chance(Mode.ADVERSARIAL, 8), f"o{number}") for number in range(500)]


def test_delays_are_ten_to_thirty_seconds_times_the_scale_T15() -> None:
    delays = [draw(Chance(Mode.REALISTIC, 7), f"o{number}").delay_ns for number in range(1000)]
    assert min(delays) >= 10 * SECOND_NS
    assert max(delays) <= 30 * SECOND_NS
    assert max(delays) - min(delays) > 19 * SECOND_NS
    tenth = [draw(Chance(Mode.REALISTIC, 7, 100), f"o{number}").delay_ns for number in range(1000)]
    assert tenth == [delay // 10 for delay in delays]


def test_instant_never_slips() -> None:
    assert {draw(Chance(Mode.INSTANT, 7), f"o{number}").slippage_ppm for number in range(100)} == {0}


def test_bad_settings_are_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="seed"):
        Chance(Mode.INSTANT, -1)
    with pytest.raises(InvalidRequest, match="delay_scale_permille"):
        Chance(Mode.INSTANT, 0, -1)
    with pytest.raises(InvalidRequest, match="one of instant, realistic, adversarial"):
        Mode.parse("kind")
