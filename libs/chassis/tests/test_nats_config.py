"""The server's settings that are law."""

from __future__ import annotations

from pathlib import Path

from kestrel_chassis.nats_config import nats_config_text


def test_every_write_is_synced_and_the_acknowledgement_form_is_pinned() -> None:
    text = nats_config_text(store_dir=Path("/data/js"), port=4222, monitoring_port=8222)
    assert "sync_interval: always" in text
    assert "feature_flags { js_ack_fc_v2: false }" in text
    assert 'listen: "127.0.0.1:4222"' in text
    assert 'http: "127.0.0.1:8222"' in text
    assert "cluster" not in text


def test_a_node_of_a_cluster_knows_its_routes() -> None:
    text = nats_config_text(
        store_dir=Path("x"), port=1, server_name="node0", cluster_port=2, routes=["nats://127.0.0.1:2"]
    )
    assert 'server_name: "node0"' in text
    assert 'routes: ["nats://127.0.0.1:2"]' in text
    assert "http" not in text
