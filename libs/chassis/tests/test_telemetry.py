"""Logs without secrets, traces that join, figures."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from kestrel_chassis import telemetry
from kestrel_chassis.settings import ServiceSettings
from kestrel_chassis.spanfile import SpanFileExporter, read_spans

PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.fixture
def spans_dir(tmp_path: Path) -> Iterator[Path]:
    telemetry.configure(ServiceSettings(service="kernel", instance="one", data_dir=tmp_path))
    yield tmp_path / "spans"
    telemetry.shutdown()


def logged(settings: ServiceSettings, write: Any) -> list[dict[str, Any]]:
    stream = io.StringIO()
    with redirect_stderr(stream):
        telemetry.configure(settings, spans=False)
        write()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_log_line_has_event_service_trace_and_no_secret(spans_dir: Path) -> None:
    def write() -> None:
        with telemetry.span("order.submit", PARENT):
            telemetry.logger().info("order.denied", reason="LIMIT", token="v4.public.x", token_id="t1", body=b"123")

    (line,) = logged(ServiceSettings(service="kernel", instance="one"), write)
    assert (line["event"], line["service"], line["instance"], line["level"]) == (
        "order.denied",
        "kernel",
        "one",
        "info",
    )
    assert line["trace_id"] == "a" * 32
    assert len(line["span_id"]) == 16
    assert (line["token"], line["token_id"], line["body"]) == ("***", "t1", "<3 bytes>")


def test_lines_below_the_level_are_not_written_and_other_libraries_log_in_the_same_form() -> None:
    def write() -> None:
        telemetry.logger().info("quiet.kept")
        telemetry.logger().warning("loud.written")
        logging.getLogger("grpc").warning("from a library")

    lines = logged(ServiceSettings(service="kernel", log_level="warning"), write)
    assert [line["event"] for line in lines] == ["loud.written", "from a library"]
    assert all(line["service"] == "kernel" for line in lines)


def test_the_console_form_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure(ServiceSettings(service="kernel", log_format="console"), spans=False)
    telemetry.logger().info("order.sent", order="o1")
    assert "order.sent" in capsys.readouterr().err


def test_spans_join_the_trace_they_were_given_and_nest(spans_dir: Path) -> None:
    with telemetry.span(
        "order.submit", PARENT, links=[PARENT, "nonsense"], **{"trading.order.client_id": "ks1"}
    ) as outer:
        assert telemetry.current_traceparent() == outer.traceparent
        with telemetry.span("order.send") as inner:
            inner.set("attempt", 1)
            inner.event("answered")
    telemetry.shutdown()

    first, second = read_spans(spans_dir, "a" * 32)
    assert (first["name"], first["parent_span_id"], first["service"]) == ("order.submit", "b" * 16, "kernel")
    assert first["attributes"] == {"trading.order.client_id": "ks1"}
    assert first["links"] == ["a" * 32 + "-" + "b" * 16]
    assert (second["name"], second["parent_span_id"]) == ("order.send", first["span_id"])
    assert second["events"][0]["name"] == "answered"
    assert outer.traceparent == f"00-{'a' * 32}-{first['span_id']}-01"


def test_an_error_marks_the_span_with_its_reason_and_goes_on(spans_dir: Path) -> None:
    from kestrel_domain.errors import Refused

    with pytest.raises(Refused), telemetry.span("order.submit", PARENT):
        raise Refused("no", reason="BUDGET")
    telemetry.shutdown()
    (found,) = read_spans(spans_dir, "a" * 32)
    assert (found["status"], found["attributes"]["error.type"]) == ("error", "BUDGET")


def test_a_replay_leaves_no_spans_and_keeps_the_trace(spans_dir: Path) -> None:
    with telemetry.replaying(), telemetry.span("order.submit", PARENT) as span:
        assert span.traceparent == PARENT
        with telemetry.span("order.send") as inner:
            assert inner.traceparent == ""
    telemetry.shutdown()
    assert read_spans(spans_dir, "a" * 32) == []


def test_an_unsampled_parent_is_followed(spans_dir: Path) -> None:
    with telemetry.span("order.submit", PARENT[:-1] + "0") as span:
        assert span.traceparent.endswith("-00")
    telemetry.shutdown()
    assert read_spans(spans_dir, "a" * 32) == []


@pytest.mark.parametrize(
    "text", ["", "00-1-2-3", "00-" + "g" * 32 + "-" + "b" * 16 + "-01", "00-" + "0" * 32 + "-" + "b" * 16 + "-01"]
)
def test_a_bad_traceparent_is_nothing_and_stops_nothing(text: str) -> None:
    assert telemetry.context_of(text) is None
    assert telemetry.trace_id_of(text) == ""


def test_a_new_traceparent_is_valid_and_new() -> None:
    first, second = telemetry.new_traceparent(), telemetry.new_traceparent()
    assert telemetry.context_of(first) is not None
    assert first != second
    assert telemetry.trace_id_of(PARENT) == "a" * 32


def test_an_otlp_endpoint_takes_the_place_of_the_file(tmp_path: Path) -> None:
    telemetry.configure(ServiceSettings(service="kernel", data_dir=tmp_path, otlp_endpoint="http://127.0.0.1:1"))
    telemetry.count("orders.sent", 3)
    assert not (tmp_path / "spans").exists()
    telemetry.shutdown()
    telemetry.shutdown()


def test_figures_count_and_show(spans_dir: Path) -> None:
    telemetry.count("orders.sent")
    telemetry.count("orders.sent", 2)
    telemetry.gauge("consumer.lag", 5)
    telemetry.gauge("consumer.lag", 4)
    assert telemetry.figures() == {"orders.sent": 3, "consumer.lag": 4}


def test_span_files_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"kernel-old{number}.jsonl").write_text("{}\n")
    exporter = SpanFileExporter(tmp_path, "kernel", "one", bytes_max=600, files_max=3)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    for _ in range(20):
        tracer.start_span("x").end()

    assert len(list(tmp_path.iterdir())) <= 3
    assert all(path.stat().st_size <= 600 for path in tmp_path.iterdir())


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    whole = json.dumps({"trace_id": "t", "span_id": "1", "start_ns": 1})
    (tmp_path / "kernel-one.jsonl").write_text(whole + "\n" + whole[:-5])
    assert len(read_spans(tmp_path, "t")) == 1


def test_spans_that_cannot_be_written_are_given_up(tmp_path: Path) -> None:
    exporter = SpanFileExporter(tmp_path / "spans", "kernel", "one")
    (tmp_path / "spans" / "kernel-one.jsonl").mkdir()
    assert exporter.export([]).name == "FAILURE"
