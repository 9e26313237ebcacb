"""Endpoints and files."""

from __future__ import annotations

from pathlib import Path

from kestrel_cli.platform.layout import Endpoints, ports_from, read_json, write_whole


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
