"""Logs, traces and figures of one service.

Logs: structlog, one JSON object per line on stderr, event names constant (``order.denied``), ``trace_id`` and
``span_id`` added, secrets left out. Traces: OpenTelemetry; W3C ``traceparent`` travels as NATS header and gRPC
metadata; spans go to an OTLP endpoint if one is set, else to a small file (``spanfile``). Figures: counters and gauges
by name, shown by the StatusService.
"""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from kestrel_chassis.settings import ServiceSettings

VERSION = "0.1.0"
_SECRET_KEYS = ("password", "secret", "token", "credential", "authorization", "private", "api_key", "warrant")
_NOT_SECRET_KEYS = frozenset({"token_id", "warrant_id"})

_replaying: ContextVar[bool] = ContextVar("kestrel_replaying", default=False)
_figures: dict[str, int] = {}
_provider: TracerProvider | None = None
_meters: MeterProvider | None = None
_tracer: trace.Tracer = trace.NoOpTracer()


# ---------------------------------------------------------------------- start and end


def configure(settings: ServiceSettings, *, spans: bool = True) -> None:
    """Set up logs and, unless ``spans`` is false, traces. Once per process."""
    _configure_logs(settings.log_level, settings.log_format, settings.service, settings.instance)
    if spans:
        _configure_traces(settings)


def shutdown() -> None:
    """Write out the spans that are still in memory."""
    global _provider, _tracer, _meters
    if _meters is not None:
        _meters.shutdown(timeout_millis=1000)
        _meters = None
    if _provider is not None:
        _provider.shutdown()
        _provider = None
        _tracer = trace.NoOpTracer()


# ---------------------------------------------------------------------- logs


def logger() -> Any:
    """The service's logger: ``logger().info("order.denied", client_order_id=..., reason=...)``."""
    return structlog.get_logger()


def _configure_logs(level: str, form: str, service: str, instance: str) -> None:
    number = getattr(logging, level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _add_trace,
        _leave_secrets_out,
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )

    def add_service(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("service", service)
        event.setdefault("instance", instance)
        return event

    structlog.configure(
        processors=[add_service, *shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[add_service, *shared],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _add_trace(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def _leave_secrets_out(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if is_secret(key):
            event[key] = "***"
        elif isinstance(value, bytes):
            event[key] = f"<{len(value)} bytes>"
    return event


def is_secret(key: str) -> bool:
    """Whether the name of a field says that its value must not be shown."""
    lowered = key.lower()
    return lowered not in _NOT_SECRET_KEYS and any(word in lowered for word in _SECRET_KEYS)


# ---------------------------------------------------------------------- traces


class Span:
    """A span under way. ``traceparent`` is what travels with everything that follows from it."""

    def __init__(self, inner: trace.Span) -> None:
        self._inner = inner

    @property
    def traceparent(self) -> str:
        return traceparent_of(self._inner.get_span_context())

    def set(self, name: str, value: AttributeValue) -> None:
        self._inner.set_attribute(name, value)

    def event(self, name: str, **attributes: AttributeValue) -> None:
        self._inner.add_event(name, attributes)

    def fail(self, reason: str, sentence: str = "") -> None:
        """Mark it as failed; ``error.type`` is the stable reason."""
        self._inner.set_attribute("error.type", reason)
        self._inner.set_status(Status(StatusCode.ERROR, sentence[:200]))


@contextmanager
def span(
    name: str,
    traceparent: str = "",
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[str] = (),
    **attributes: AttributeValue,
) -> Iterator[Span]:
    """One piece of work. Its parent is ``traceparent`` if given, else the span around it.

    ``links`` are traceparents of causes that are not the parent (the messages of a batch). During a replay nothing is
    recorded, but the trace goes on under the same id. An exception marks the span as failed and goes on.
    """
    parent = context_of(traceparent)
    if _replaying.get():
        yield Span(NonRecordingSpan(parent or SpanContext(0, 0, is_remote=False)))
        return
    context = trace.set_span_in_context(NonRecordingSpan(parent), Context()) if parent else None
    linked = [Link(found) for found in map(context_of, links) if found is not None and found.trace_flags.sampled]
    inner = _tracer.start_span(name, context=context, kind=kind, attributes=attributes, links=linked)
    current = Span(inner)
    token = attach(trace.set_span_in_context(inner))  # start_as_current_span does the same through two more layers
    try:
        yield current
    except Exception as error:
        current.fail(getattr(error, "reason", type(error).__name__), str(error))
        raise
    finally:
        detach(token)
        inner.end()


@contextmanager
def replaying() -> Iterator[None]:
    """Inside, spans are not recorded: a replay must not look like trading."""
    token = _replaying.set(True)
    try:
        yield
    finally:
        _replaying.reset(token)


def new_traceparent() -> str:
    """The beginning of a new trace, sampled, for work that has no span around it."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def current_traceparent() -> str:
    """Of the span around the caller; empty if there is none."""
    return traceparent_of(trace.get_current_span().get_span_context())


def traceparent_of(context: SpanContext) -> str:
    """W3C form: ``00-<trace id>-<span id>-<flags>``."""
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def context_of(traceparent: str) -> SpanContext | None:
    """None for anything that is not a W3C traceparent: a bad header from outside never stops work."""
    parts = traceparent.split("-")
    if len(parts) != 4 or [len(part) for part in parts] != [2, 32, 16, 2]:
        return None
    try:
        trace_id, span_id, flags = (int(part, 16) for part in parts[1:])
    except ValueError:
        return None
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


def trace_id_of(traceparent: str) -> str:
    """32 hex digits, or empty."""
    context = context_of(traceparent)
    return f"{context.trace_id:032x}" if context else ""


def _configure_traces(settings: ServiceSettings) -> None:
    global _provider, _tracer
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    shutdown()
    resource = Resource(
        {
            "service.name": settings.service,
            "service.version": VERSION,
            "service.instance.id": settings.instance,
            "deployment.environment.name": settings.environment,
        }
    )
    exporter: SpanExporter
    if settings.otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(
            endpoint=settings.otlp_endpoint, insecure=not settings.otlp_endpoint.startswith("https")
        )
    else:
        from kestrel_chassis.spanfile import SpanFileExporter

        exporter = SpanFileExporter(settings.data_dir / "spans", settings.service, settings.instance)
    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(settings.trace_sample_ratio),
        resource=resource,
        span_limits=SpanLimits(max_attributes=64, max_links=256, max_events=64),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=8192, schedule_delay_millis=2000, max_export_batch_size=512)
    )
    _provider = provider
    _tracer = provider.get_tracer("kestrel", VERSION)
    if settings.otlp_endpoint:
        _configure_metrics(settings, resource)


def _configure_metrics(settings: ServiceSettings, resource: Resource) -> None:
    """Send the figures to the OTLP endpoint: one gauge, the figure's name as its attribute. Names are constants."""
    global _meters
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    def observe(_: CallbackOptions) -> list[Observation]:
        return [Observation(value, {"kestrel.figure": name}) for name, value in _figures.items()]

    exporter = OTLPMetricExporter(
        endpoint=settings.otlp_endpoint, insecure=not settings.otlp_endpoint.startswith("https")
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=15_000)
    _meters = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
    _meters.get_meter("kestrel", VERSION).create_observable_gauge("kestrel.figure", callbacks=[observe])


# ---------------------------------------------------------------------- figures


def count(name: str, by: int = 1) -> None:
    """Add to a counter."""
    _figures[name] = _figures.get(name, 0) + by


def gauge(name: str, value: int) -> None:
    """Set a figure that goes up and down."""
    _figures[name] = value


def forget(*names: str) -> None:
    """Take gauges away: a last value that nobody keeps up reads as if it were the present one."""
    for name in names:
        _figures.pop(name, None)


def figures() -> Mapping[str, int]:
    """A copy of all of them."""
    return dict(_figures)


def reset_figures() -> None:
    """For tests: as if the process had just started."""
    _figures.clear()
