"""The library and its second implementation agree: a million random inputs, and on the tables that both know."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime

import pytest

from tests.reference import machines, reach
from tests.reference import subject as library
from tests.reference.differential import SEQUENCE_LENGTH, run_seed, trace
from tests.reference.fees import conviction_of, conviction_to_leverage
from tests.reference.generate import World, config_of
from tests.reference.kernel import Kernel
from tests.reference.subject import StatusError, Subject
from tests.reference.words import ABI_VERSION, READS, SEVERITY, WITHOUT_EVENT_ID, Code, Fact, Field, InputKind, Life

INPUT_COUNT = int(os.environ.get("KESTREL_REFERENCE_INPUTS", "1000000"))
CHUNK_COUNT = 8
FIXED_SEED = 1
SEEDS_PER_CHUNK = -(-INPUT_COUNT // (CHUNK_COUNT * SEQUENCE_LENGTH))


def seed_of_the_day() -> int:
    """Other inputs every day, the same ones all day: KESTREL_SEED, else the date."""
    return int(os.environ.get("KESTREL_SEED") or f"{datetime.now(UTC):%Y%m%d}") * 10_000


@pytest.mark.timeout(900)
@pytest.mark.parametrize("chunk", range(CHUNK_COUNT))
def test_a_million_random_inputs_give_the_same_outputs_views_and_digests_K21(chunk: int) -> None:
    """Half of the chunks have the same seeds each time, the other half the day's."""
    first_seed = (FIXED_SEED if chunk % 2 == 0 else seed_of_the_day()) + chunk * SEEDS_PER_CHUNK
    print(f"seeds {first_seed} to {first_seed + SEEDS_PER_CHUNK - 1}")
    reached, input_count = Counter[str](), 0
    for seed in range(first_seed, first_seed + SEEDS_PER_CHUNK):
        sequence = run_seed(seed)
        if sequence.difference:
            pytest.fail(trace(sequence))
        reached += sequence.reached
        input_count += len(sequence.acts)

    assert reach.unforeseen(reached) == []
    if input_count >= reach.RUN_LENGTH_MIN:
        assert reach.missing(reached) == []


def test_the_same_seed_gives_the_same_inputs_and_the_same_end_K21() -> None:
    first, again = run_seed(7), run_seed(7)

    assert first.acts == again.acts
    assert first.summary == again.summary


def test_inputs_depend_on_nothing_but_the_seed() -> None:
    def inputs(seed: int) -> list[object]:
        kernel, made = Kernel(config_of(seed)), []
        world = World(seed, kernel.state.config)
        for _ in range(300):
            value = world.next(kernel.state)
            kernel.apply(value)
            made.append(value)
        return list(made)

    assert inputs(3) == inputs(3)
    assert inputs(3) != inputs(4)


def test_the_reference_is_of_the_library_s_version() -> None:
    assert library.ABI_VERSION == ABI_VERSION


def test_both_have_the_same_table_of_lives_K03() -> None:
    for life in Life:
        for fact in Fact:
            expected = machines.NEXT_LIFE.get(life, {}).get(fact, Life.NONE)
            assert library.next_life(life, fact) == expected, (life, fact)


def test_both_give_a_code_the_same_severity_K01() -> None:
    for code in Code:
        assert library.code_severity(code) == SEVERITY[code], code


def test_every_code_is_expected_of_some_input_K01() -> None:
    assert reach.codes_without_use() == set()


def test_both_read_the_same_fields_of_a_kind() -> None:
    for kind in InputKind:
        if kind == InputKind.NONE:
            continue
        common = ["now_ns", "sequence", "flags", *([] if kind in WITHOUT_EVENT_ID else ["event_id"])]
        read = {field.name.lower() for field in Field if library.reads(kind, field)}
        assert read == {*READS[kind].split(), *common}, kind


def test_both_derive_the_same_conviction_K05() -> None:
    figures = [0, 1, 2, 3, 10**8, 10**12 + 1, 2**53, 2**62, 2**63 - 1]
    for notional in figures:
        for capital in [-(2**63), -1, *figures]:
            expected = conviction_of(notional, capital)
            assert library.conviction_of(notional, capital) == expected, (notional, capital)
    assert library.conviction_of(-1, 1) is None


def test_a_saved_state_of_another_account_is_refused_and_changes_nothing_K21() -> None:
    ours, other = Subject(config_of(1)), Subject(config_of(2))
    before = ours.digest()

    with pytest.raises(StatusError, match="INVALID_STATE"):
        ours.restore(other.save())
    for damaged in (ours.save()[:-1], ours.save()[:-1] + b"\0", b"\0" + ours.save()[1:]):
        with pytest.raises(StatusError, match=r"INVALID_(SIZE|CHECKSUM|VERSION)"):
            ours.restore(damaged)

    assert ours.digest() == before


def test_both_map_conviction_to_the_same_leverage_K05() -> None:
    convictions = [*range(0, 10**9, 1_234_567), 50_000_000, 900_000_000, -1, 2**63 - 1, -(2**63)]
    for leverage_max in (0, 1, 2, 3, 10, 125, 2**32 - 1):
        for conviction in convictions:
            expected = conviction_to_leverage(conviction, leverage_max)
            assert library.conviction_to_leverage(conviction, leverage_max) == expected, (conviction, leverage_max)
