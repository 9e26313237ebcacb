"""The servers that tests stand on."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from kestrel_chassis import streams
from kestrel_chassis.bus import Bus
from kestrel_domain.effects import Publish
from kestrel_testkit import servers
from kestrel_testkit.fixtures import Database, eventually
from kestrel_testkit.servers import NatsServer, PostgresServer, ServerFailed, ServerProcess, free_port

pytestmark = pytest.mark.integration


def sleeper(folder: Path, code: str = "import time; time.sleep(600)", *, is_ready: bool = True) -> ServerProcess:
    return ServerProcess([sys.executable, "-c", code], folder, "sleeper", lambda: is_ready)


def test_a_server_that_ends_at_once_fails_with_its_log(tmp_path: Path) -> None:
    server = sleeper(tmp_path, "import sys; sys.exit('no such luck')", is_ready=False)
    with pytest.raises(ServerFailed, match="no such luck"):
        server.start()


def test_a_server_that_is_never_ready_fails_in_time_and_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "START_TIMEOUT_S", 0.1)
    server = sleeper(tmp_path, is_ready=False)
    server.launch()
    pid = server.pid
    with pytest.raises(ServerFailed, match="did not start"):
        server.wait_ready()
    assert not psutil.pid_exists(pid)


def test_a_frozen_server_can_be_ended_and_ending_twice_is_ending_once(tmp_path: Path) -> None:
    server = sleeper(tmp_path)
    server.start()
    pid = server.pid
    server.suspend()
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    server.resume()
    server.suspend()
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    server.stop()
    server.kill()
    assert not psutil.pid_exists(pid)


def test_a_server_that_ignores_its_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "STOP_TIMEOUT_S", 0.3)
    ready = tmp_path / "ready"
    code = (
        f"import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(600)"
    )
    server = ServerProcess([sys.executable, "-c", code], tmp_path, "stubborn", ready.exists)
    server.start()
    pid = server.pid
    server.stop(signal.SIGTERM)
    assert not psutil.pid_exists(pid)


def test_a_free_port_is_given_to_nobody_by_chance_and_a_server_may_listen_on_it() -> None:
    port = free_port()
    with contextlib.ExitStack() as opened:
        others = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(200)]
        assert port not in {other.getsockname()[1] for other in others}
    for _ in range(2):  # and again, after it ended
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            pass


async def test_each_test_finds_fresh_streams(bus: Bus) -> None:
    await streams.compare(bus)
    assert (await bus.publish(Publish("intent.A", b"", "one"))).sequence == 1


async def test_each_test_finds_fresh_streams_again(bus: Bus) -> None:
    assert (await bus.publish(Publish("intent.A", b"", "one"))).sequence == 1


async def test_a_cluster_has_three_replicas(cluster_bus: Bus) -> None:
    info = await cluster_bus.api("STREAM.INFO.JOURNAL_0")
    assert len(info["cluster"]["replicas"]) == 2


def test_a_server_keeps_its_streams_over_a_kill(own_nats_server: NatsServer) -> None:
    port = own_nats_server.port
    own_nats_server.process.kill()
    own_nats_server.process.start()
    assert own_nats_server.url.endswith(str(port))


async def test_a_database_is_fresh_and_version_18(postgres: Database) -> None:
    import asyncpg

    connection = await asyncpg.connect(postgres.dsn)
    assert (await connection.fetchval("show server_version_num")).startswith("18")
    await connection.execute("create table t (x int)")
    await connection.close()


async def test_the_next_database_is_another(postgres: Database, postgres_server: PostgresServer) -> None:
    import asyncpg

    connection = await asyncpg.connect(postgres.dsn)
    assert await connection.fetchval("select count(*) from pg_tables where tablename = 't'") == 0
    names = await connection.fetch("select datname from pg_database where datname like 'test_%'")
    assert len(names) == 1
    await connection.close()


def test_a_stopped_database_server_leaves_no_folder_behind() -> None:
    server = servers.start_postgres()
    pid = server.process.pid
    assert server.folder.exists()
    server.stop()
    assert not server.folder.exists()
    assert not psutil.pid_exists(pid)


def test_a_program_that_fails_says_what_it_said(postgres_server: PostgresServer) -> None:
    with pytest.raises(ServerFailed, match="already exists"):
        postgres_server.create_database("postgres")


async def test_eventually_says_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match="pigs fly"):
        await eventually(lambda: False, "pigs fly", timeout_s=0.05)


def test_the_servers_binaries_are_found() -> None:
    assert subprocess.run([servers.nats_server_path(), "--version"], check=True, capture_output=True).stdout
    assert (servers.postgres_binaries() / "initdb").exists()
