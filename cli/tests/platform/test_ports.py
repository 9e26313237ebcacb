"""Whose ports are whose, also when many choose at the same moment."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from kestrel_cli.errors import CommandFailed
from kestrel_cli.platform.layout import HOST, PORT_OFFSETS, Endpoints
from kestrel_cli.platform.ports import claimed_ports

_CLAIMER = """
import sys
from kestrel_cli.platform.ports import claimed_ports
for line in sys.stdin:
    with claimed_ports(None) as endpoints:
        print(endpoints.base, flush=True)
        sys.stdin.readline()
    print("given back", flush=True)
"""
_CLAIMER_COUNT, _ROUNDS = 4, 30


class Claimer:
    """A process that claims ports and gives them back when it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CLAIMER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def _claimers(count: int) -> Iterator[list[Claimer]]:
    with ExitStack() as running:
        found = []
        for _ in range(count):
            claimer = Claimer()
            running.enter_context(claimer.process)
            running.callback(claimer.process.kill)
            found.append(claimer)
        yield found


def _listen() -> socket.socket:
    taken = socket.socket()
    taken.bind((HOST, 0))
    taken.listen()
    return taken


def test_a_taken_port_that_was_asked_for_is_named_with_what_to_do() -> None:
    with _listen() as taken:
        port = taken.getsockname()[1]
        base = port - PORT_OFFSETS["governance"]
        with (
            pytest.raises(CommandFailed, match=f"port {port} \\(for governance\\) is taken") as caught,
            claimed_ports(base),
        ):
            pass
    assert "--port-base" in caught.value.next_step


def test_ports_that_were_asked_for_and_are_another_platform_s_are_refused_before_anything_listens() -> None:
    with (
        claimed_ports(None) as first,
        pytest.raises(CommandFailed, match=f"from {first.base} on is taken by another platform") as caught,
        claimed_ports(first.base),
    ):
        pass
    assert "--port-base" in caught.value.next_step


def test_without_a_wish_the_ports_of_last_time_come_first_and_taken_ones_are_stepped_over() -> None:
    with claimed_ports(None), claimed_ports(None) as second:
        last_time = second
    with claimed_ports(None, previous=last_time) as again:
        assert again == last_time
        with claimed_ports(None, previous=last_time) as other:
            assert other != last_time
    with _listen() as taken:
        blocked = Endpoints({**last_time.ports, "kernel": taken.getsockname()[1]})
        with claimed_ports(None, previous=blocked) as free:
            assert free.ports["kernel"] != blocked.ports["kernel"]


@pytest.mark.integration
def test_platforms_that_start_at_the_same_moment_never_choose_the_same_ports() -> None:
    with _claimers(_CLAIMER_COUNT) as claimers:
        for _ in range(_ROUNDS):
            for claimer in claimers:
                claimer.tell()
            chosen = [claimer.hear() for claimer in claimers]
            assert all(chosen)
            assert len(set(chosen)) == _CLAIMER_COUNT
            for claimer in claimers:
                claimer.tell()
            assert [claimer.hear() for claimer in claimers] == ["given back"] * _CLAIMER_COUNT


@pytest.mark.integration
def test_the_claim_of_a_process_that_was_killed_is_free() -> None:
    with _claimers(1) as (claimer,):
        claimer.tell()
        base = int(claimer.hear())
        claimer.process.kill()
        claimer.process.wait()
        with claimed_ports(base) as endpoints:
            assert endpoints.base == base
