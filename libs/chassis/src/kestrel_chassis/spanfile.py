"""Spans as JSON lines in ``<data_dir>/spans/<service>-<instance>.jsonl``: enough to follow an order on a laptop.

One object per line: ``trace_id span_id parent_span_id name kind service instance start_ns end_ns status error
attributes links events``. A file is moved to ``.1`` at 8 MiB, and a service keeps its newest 8 files: the space is
bounded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

FILE_BYTES_MAX = 8 << 20
FILES_MAX = 8


class SpanFileExporter(SpanExporter):
    """Called from the batch processor's thread only."""

    def __init__(
        self, folder: Path, service: str, instance: str, *, bytes_max: int = FILE_BYTES_MAX, files_max: int = FILES_MAX
    ) -> None:
        self._folder = folder
        self._service = service
        self._instance = instance
        self._bytes_max = bytes_max
        self._files_max = files_max
        self._path = folder / f"{service}-{instance}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self._prune()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        lines = "".join(json.dumps(self._record(span), separators=(",", ":")) + "\n" for span in spans)
        try:
            if self._path.exists() and self._path.stat().st_size + len(lines) > self._bytes_max:
                os.replace(self._path, self._path.with_suffix(".jsonl.1"))
                self._prune()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(lines)
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def _prune(self) -> None:
        files = [path for path in self._folder.glob(f"{self._service}-*.jsonl*") if path.is_file()]
        files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[self._files_max - 1 :]:
            path.unlink(missing_ok=True)

    def _record(self, span: ReadableSpan) -> dict[str, Any]:
        context = span.get_span_context()
        assert context is not None
        return {
            "trace_id": f"{context.trace_id:032x}",
            "span_id": f"{context.span_id:016x}",
            "parent_span_id": f"{span.parent.span_id:016x}" if span.parent else "",
            "name": span.name,
            "kind": span.kind.name.lower(),
            "service": self._service,
            "instance": self._instance,
            "start_ns": span.start_time,
            "end_ns": span.end_time,
            "status": span.status.status_code.name.lower(),
            "error": span.status.description or "",
            "attributes": dict(span.attributes or {}),
            "links": [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in span.links],
            "events": [{"name": event.name, "time_ns": event.timestamp} for event in span.events],
        }


def read_spans(folder: Path, trace_id: str) -> list[dict[str, Any]]:
    """All spans of one trace that any service wrote here, by start time. Lines that are cut off are left out."""
    spans = []
    for path in sorted(folder.glob("*.jsonl*")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if trace_id not in line:
                continue
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record.get("trace_id") == trace_id:
                spans.append(record)
    return sorted(spans, key=lambda record: (record["start_ns"], record["span_id"]))
