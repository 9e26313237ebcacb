"""The configuration of a NATS server as Kestrel needs it, for a laptop, for tests and as the pattern for a cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

MAX_FILE_STORE_BYTES = 16 << 30


def nats_config_text(
    *,
    store_dir: Path,
    port: int,
    monitoring_port: int = 0,
    host: str = "127.0.0.1",
    server_name: str = "kestrel",
    cluster_port: int = 0,
    routes: Sequence[str] = (),
    max_file_store_bytes: int = MAX_FILE_STORE_BYTES,
) -> str:
    """A configuration file's text. With ``cluster_port`` the server is one node of a cluster.

    Every write is synced before it is acknowledged, and acknowledgement subjects keep the form that the Python client
    understands.
    """
    lines = [
        f"server_name: {json.dumps(server_name)}",
        f"listen: {json.dumps(f'{host}:{port}')}",
        *([f"http: {json.dumps(f'{host}:{monitoring_port}')}"] if monitoring_port else []),
        "max_payload: 1MB",
        "jetstream {",
        f"  store_dir: {json.dumps(str(store_dir))}",
        f"  max_file_store: {max_file_store_bytes}",
        "  max_memory_store: 268435456",
        "  sync_interval: always",
        "}",
        "feature_flags { js_ack_fc_v2: false }",
    ]
    if cluster_port:
        lines += [
            "cluster {",
            '  name: "kestrel"',
            f"  listen: {json.dumps(f'{host}:{cluster_port}')}",
            f"  routes: {json.dumps(list(routes))}",
            "}",
        ]
    return "\n".join(lines) + "\n"
