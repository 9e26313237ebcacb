"""The kernel: one input in C and through Python, beside plain Python, vnpy and NautilusTrader on the same trades.

Rounds alternate: each contestant is measured once a round, so that what else the machine does meets all of them. A
figure is the median of the rounds, in nanoseconds of processor time. Worse is: more nanoseconds, more bytes, fewer
inputs a second, or another hash.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import kestrel_libkernel as lk
from bench import comparison, core, twins
from bench.figures import median, rounded
from bench.peers import processes, trades
from kestrel_libkernel import bench as library_bench

_LIBRARY = Path(__file__).resolve().parent.parent / "libkernel"
_ROUNDS, _QUICK_ROUNDS = 5, 1
_TRADES = 2_000
_STORY_TRADES = 20
_SLOT_COUNTS = (1, 16, 256)
_SAVE_ROUNDS, _QUICK_SAVE_ROUNDS = 200, 20
_NAUTILUS_TRADES, _QUICK_NAUTILUS_TRADES = 250, 50
_NAUTILUS_HISTORIES = (100, 400, 1_600)
_PEERS = {"nautilus": "bench.peers.nautilus_engine", "vnpy": "bench.peers.vnpy_oms"}
_NAUTILUS_ROWS = ("netting_calculated", "hedging_calculated", "netting_reported", "hedging_reported")
_PROGRAM_TIMEOUT_S = 300

Figures = dict[str, Any]
Round = Callable[[], Figures]


def measure(*, quick: bool, peers: bool = True) -> Figures:
    """All of it, within some 90 s; quick, within some 20 s; installing the peers, once, comes on top."""
    stories = twins.story_hashes(_STORY_TRADES)
    assert len(set(stories.values())) == 1, f"the reference does other work than the kernel: {stories}"
    with contextlib.ExitStack() as stack:
        present, absent = _start_peers(stack, peers)
        rounds = _alternate(_contestants(present, quick), _QUICK_ROUNDS if quick else _ROUNDS)
        history = {} if quick or "nautilus" not in present else _nautilus_by_history(present["nautilus"])
        versions = {name: version for peer in present.values() for name, version in peer.versions.items()}
    said = {name: _merged(answers) for name, answers in rounds.items()}
    spread = _spread(rounds)
    figures: Figures = {key: value for answer in said.values() for key, value in answer.items()}
    figures |= {
        **comparison.summary(figures),
        **comparison.summary_of_least(spread),
        "spread": spread,
        "absent": absent,
        "peer_versions": versions,
        "nautilus_ns_after_trades": history,
        "books_per_trade": {name: answer["books"] for name, answer in said.items() if "books" in answer},
        **_memory(),
        "py_save_and_restore": {
            f"slots_{count}": _save_and_restore(count, _QUICK_SAVE_ROUNDS if quick else _SAVE_ROUNDS)
            for count in _SLOT_COUNTS
        },
        **core.measure(trade_count=100 if quick else 500, repeats=1 if quick else 3),
        **({} if quick else _instructions()),
    }
    figures.pop("books", None)
    results = {name: answer["result"] for name, answer in said.items() if "result" in answer}
    figures["result"] = {**results, **stories, "service": figures.pop("service_result")}
    return figures


# --- rounds ----------------------------------------------------------------------------------------------------------


def _alternate(contestants: dict[str, Round], count: int) -> dict[str, list[Figures]]:
    """What each contestant said, round by round."""
    said: dict[str, list[Figures]] = {name: [] for name in contestants}
    for _ in range(count):
        for name, contestant in contestants.items():
            said[name].append(contestant())
    return said


def _merged(values: Sequence[Any]) -> Any:
    """Medians of numbers, also deeper down; bytes are the same each round anyway, and what is said must be."""
    first = values[0]
    if isinstance(first, Mapping):
        return {key: _merged([value[key] for value in values]) for key in first}
    if all(value == first for value in values):
        return first
    assert isinstance(first, int | float), f"the rounds ended in different states: {values}"
    return rounded(median(values))


def _spread(rounds: dict[str, list[Figures]]) -> Figures:
    """The least and the greatest of the rounds, of each figure in nanoseconds."""
    return {
        key: [rounded(min(values)), rounded(max(values))]
        for answers in rounds.values()
        for key in answers[0]
        if key.endswith("_ns") and isinstance(answers[0][key], int | float)
        for values in [[answer[key] for answer in answers]]
    }


def _contestants(present: dict[str, processes.Peer], quick: bool) -> dict[str, Round]:
    inputs = twins.reference_inputs(_TRADES)
    contestants: dict[str, Round] = {
        "c": _c,
        "python": _python,
        "reference": lambda: {"python_reference_ns": twins.reference_ns(inputs)},
        "minimal": lambda: {"python_minimal_ns": twins.minimal_ns(_TRADES)},
    }
    if "vnpy" in present:
        contestants["vnpy"] = partial(_peer, present["vnpy"], "direct", _TRADES, "vnpy_ns")
    if "nautilus" in present:
        for row in _NAUTILUS_ROWS:
            count = _QUICK_NAUTILUS_TRADES if quick else _NAUTILUS_TRADES
            contestants[f"nautilus_{row}"] = partial(_peer, present["nautilus"], row, count, f"nautilus_{row}_ns")
    return contestants


def _c() -> Figures:
    """``libkernel/bench/bench.c``, compiled on the spot. Raises RuntimeError with what was said when it cannot run."""
    try:
        return _with_result(library_bench.measure_c(_LIBRARY), "c_result")
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"libkernel's own benchmark: {error.stderr.strip()}") from None


def _python() -> Figures:
    return _with_result(library_bench.measure_python(), "py_result")


def _with_result(figures: Figures, name: str) -> Figures:
    return {("result" if key == name else key): value for key, value in figures.items()}


# --- peers -----------------------------------------------------------------------------------------------------------


def _start_peers(stack: contextlib.ExitStack, wanted: bool) -> tuple[dict[str, processes.Peer], dict[str, str]]:
    """Those who are there, and why the others are not: a figure is measured or absent, never carried over."""
    present: dict[str, processes.Peer] = {}
    absent: dict[str, str] = {}
    if not wanted:
        return present, dict.fromkeys((f"{name}_ns" for name in _PEERS), "left out: --without-peers")
    for name, module in _PEERS.items():
        try:
            present[name] = stack.enter_context(processes.Peer(processes.install(), module))
        except processes.Unavailable as error:
            absent[f"{name}_ns"] = str(error)
    for name in list(present):
        try:
            assert present[name].versions, "a peer says who it is"
        except processes.Unavailable as error:
            absent[f"{name}_ns"] = str(error)
            del present[name]
    return present, absent


def _peer(peer: processes.Peer, row: str, trade_count: int, key: str) -> Figures:
    """One round of a peer, which must have ended where we end, or it did other work."""
    answer = peer.round(row, trade_count)
    ours = {"orders": 2, "fills": 4, "realized_pnl": trades.REALIZED_PER_TRADE, "fees": trades.FEES_PER_TRADE}
    books = {name: value for name, value in ours.items() if name in answer}
    for name, value in books.items():
        assert answer[name] == value * trade_count, f"{row}: {name} is {answer[name]}, not {value * trade_count}"
    return {key: answer["ns"], "books": books}


def _nautilus_by_history(peer: processes.Peer) -> Figures:
    """What an event costs on average in a run of so many trades: it keeps every order, event and position."""
    return {str(count): rounded(peer.round("netting_calculated", count)["ns"]) for count in _NAUTILUS_HISTORIES}


# --- size ------------------------------------------------------------------------------------------------------------


def _memory() -> Figures:
    """As ``lk_kernel_memory`` says it."""
    with lk.Kernel(library_bench.CONFIG) as kernel:
        slot_bytes, total_bytes = kernel.memory()
    return {"state_bytes_per_slot": slot_bytes, "state_bytes_total": total_bytes}


def _save_and_restore(slot_count: int, rounds: int) -> Figures:
    """From Python: one account's kernel with every slot holding an open position."""
    config = replace(library_bench.CONFIG, slot_count=slot_count)
    saving, restoring = [], []
    with lk.Kernel(config) as kernel, lk.Kernel(config) as other:
        for value in _opened(slot_count):
            assert kernel.apply(value).outcome.accepted, "an input was refused"
        data = b""
        for _ in range(rounds):
            began_ns = time.perf_counter_ns()
            data = kernel.save()
            saved_ns = time.perf_counter_ns()
            other.restore(data)
            restoring.append(time.perf_counter_ns() - saved_ns)
            saving.append(saved_ns - began_ns)
        assert other.digest() == kernel.digest(), "restored is not what was saved"
    return {
        "bytes": len(data),
        "save_us": rounded(median(saving) / 1e3),
        "restore_us": rounded(median(restoring) / 1e3),
    }


def _opened(slot_count: int) -> Iterator[lk.Input]:
    """Entries and their fills, each in a symbol of its own: there is one open trade a symbol."""
    for number in range(slot_count):
        enter, *others = library_bench.trade_inputs(number, number * twins.INPUTS_PER_TRADE + 1)[:5]
        assert isinstance(enter, lk.Enter), "a trade begins with its entry"
        yield replace(enter, instrument=replace(library_bench.INSTRUMENT, symbol=f"SYMBOL{number}"))
        yield from others


# --- instructions ----------------------------------------------------------------------------------------------------


def _instructions() -> Figures:
    """Instructions per input under callgrind: the figure that other work on the machine does not move."""
    if shutil.which("valgrind") is None:
        return {"instructions": "absent: valgrind is not installed"}
    done = subprocess.run(
        ["make", "--silent", "-C", str(_LIBRARY), "callgrind"],
        capture_output=True, text=True, check=False, timeout=_PROGRAM_TIMEOUT_S,
    )  # fmt: skip
    if done.returncode:
        return {"instructions": f"absent: {(done.stderr.strip().splitlines() or ['make callgrind failed'])[-1]}"}
    return {"instructions": json.loads(done.stdout)}


def show(figures: Figures, path: Path) -> None:
    """The comparison as a table, and as a picture beside the file."""
    comparison.show(figures, path)
