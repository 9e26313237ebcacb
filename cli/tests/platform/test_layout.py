"""Ports and files."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kestrel_cli.errors import CommandFailed
from kestrel_cli.platform.layout import (
    HOST,
    PORT_OFFSETS,
    Endpoints,
    choose_ports,
    ports_from,
    read_json,
    write_whole,
)


def _listen() -> socket.socket:
    taken = socket.socket()
    taken.bind((HOST, 0))
    taken.listen()
    return taken


def test_a_taken_port_that_was_asked_for_is_named_with_what_to_do() -> None:
    with _listen() as taken:
        port = taken.getsockname()[1]
        base = port - PORT_OFFSETS["governance"]
        with pytest.raises(CommandFailed, match=f"port {port} \\(for governance\\) is taken") as caught:
            choose_ports(base)
    assert "--port-base" in caught.value.next_step


def test_without_a_wish_the_ports_of_last_time_come_first_and_taken_ones_are_stepped_over() -> None:
    free = choose_ports(None)
    assert choose_ports(None, previous=free) == free
    with _listen() as taken:
        blocked = Endpoints({**free.ports, "kernel": taken.getsockname()[1]})
        assert choose_ports(None, previous=blocked).ports["kernel"] != taken.getsockname()[1]


def test_endpoints_are_kept_whole_and_a_broken_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    assert Endpoints.load(path) is None
    endpoints = Endpoints(ports_from(9000))
    endpoints.save(path)
    assert Endpoints.load(path) == endpoints
    assert endpoints.nats_url == "nats://127.0.0.1:9022"
    for text in ("{", "[]", '{"ports": {"kernel": 1}}', ""):
        path.write_text(text)
        assert Endpoints.load(path) is None


def test_a_file_is_replaced_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_whole(path, '{"a": 1}')
    write_whole(path, '{"a": 2}')
    assert read_json(path) == {"a": 2}
    assert path.stat().st_mode & 0o077 == 0
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]
