"""One set of ports for each platform, also when several start at the same moment.

A platform holds the first port of its set, on which nothing listens, from the choice to its end. The system gives a
port to one process at a time, whoever runs it, and takes it back when the process ends, however it ends: there is
nothing to clean up, and a set that looks free because its servers have not started yet is not chosen twice.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kestrel_cli.errors import CommandFailed
from kestrel_cli.platform.layout import DEFAULT_PORT_BASE, HOST, Endpoints, ports_from

_BASE_STEP = 100
_BASES_TRIED = 40


@contextmanager
def claimed_ports(base: int | None, *, previous: Endpoints | None = None) -> Iterator[Endpoints]:
    """Ports for a platform, and for nobody else as long as this lasts: those asked for, or last time's, or the first
    free set at or above the default.

    Raises CommandFailed when the ports asked for are taken, naming the port.
    """
    for endpoints in _candidates(base, previous):
        claim = _claim(endpoints)
        if claim is None:
            continue
        with claim:
            if not _taken(endpoints):
                yield endpoints
                return
    if base is not None:
        raise _refusal(Endpoints(ports_from(base)))
    raise CommandFailed("no free set of ports was found", next_step="choose one with --port-base")


def _candidates(base: int | None, previous: Endpoints | None) -> Iterator[Endpoints]:
    if base is not None:
        yield Endpoints(ports_from(base))
        return
    if previous is not None:
        yield previous
    for step in range(_BASES_TRIED):
        yield Endpoints(ports_from(DEFAULT_PORT_BASE + step * _BASE_STEP))


def _claim(endpoints: Endpoints) -> socket.socket | None:
    """Hold the set, until the socket is closed; None when somebody else does."""
    claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        claim.bind((HOST, endpoints.base))  # without SO_REUSEADDR, which would let a second one have it
    except OSError:
        claim.close()
        return None
    return claim


def _taken(endpoints: Endpoints) -> dict[str, int]:
    """Those of the ports that something listens on already."""
    return {name: port for name, port in endpoints.ports.items() if not _is_free(port)}


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _refusal(asked: Endpoints) -> CommandFailed:
    """Why not these ports."""
    taken = next(iter(_taken(asked).items()), None)
    if taken is None:
        problem = f"the set of ports from {asked.base} on is taken by another platform"
    else:
        name, port = taken
        problem = f"port {port} (for {name}) is taken by another program{_owner_of(port)}"
    return CommandFailed(
        problem,
        next_step=f"stop that program, or choose other ports: kestrel up --port-base {asked.base + _BASE_STEP}",
    )


def _owner_of(port: int) -> str:
    """``: name (pid 12)`` of who listens on a port, or nothing when the system will not say."""
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                return f": {psutil.Process(connection.pid).name()} (pid {connection.pid})" if connection.pid else ""
    except (psutil.Error, OSError):
        return ""
    return ""
