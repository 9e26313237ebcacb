"""One function per C function: check, call, status to exception, copy out. Knows nothing of what the bytes mean."""

from __future__ import annotations

from typing import Any

from kestrel_libkernel._ffi import ffi, lib

ABI_VERSION = 1
EVENTS_MAX: int = lib.LK_EVENTS_MAX
BATCH_MAX = 256
"""Inputs that cross at once; a longer batch crosses several times."""

if lib.lk_abi_version() != ABI_VERSION:
    raise ImportError(f"libkernel speaks ABI {lib.lk_abi_version()}, these bindings {ABI_VERSION}")

VERSION: str = ffi.string(lib.lk_version()).decode()

INPUT_BYTES: int = ffi.sizeof("lk_input_t")
OUTCOME_BYTES: int = ffi.sizeof("lk_outcome_t")
EVENT_BYTES: int = ffi.sizeof("lk_event_t")
NO_SLOT = 0xFFFFFFFF
NEVER_NS = 2**63 - 1
DIGEST_BYTES = 32

_OK = 0


class InvalidInput(ValueError):
    """The caller's fault: it could not be expressed, or is out of range. Nothing was applied."""


class RestoreRefused(ValueError):
    """The bytes are not a saved state of this kernel; ``reason`` says why. Nothing has changed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"saved state refused: {reason}")
        self.reason = reason


class Handle:
    """A kernel and the memory that calls answer into, all taken once."""

    __slots__ = ("_events", "_outcomes", "events", "outcomes", "pointer")

    def __init__(self, pointer: Any) -> None:
        self.pointer = pointer
        self._outcomes = ffi.new("lk_outcome_t[]", BATCH_MAX)
        self._events = ffi.new("lk_event_t[]", 2 * EVENTS_MAX)
        self.outcomes = memoryview(ffi.buffer(self._outcomes))
        self.events = memoryview(ffi.buffer(self._events))

    def close(self) -> None:
        """Free the kernel; a second time does nothing."""
        if self.pointer is not None:
            ffi.release(self.pointer)
            self.pointer = None


def _live(handle: Handle) -> Any:
    if handle.pointer is None:
        raise InvalidInput("the kernel is closed")
    return handle.pointer


def _require_ok(status: int) -> None:
    if status == _OK:
        return
    name = status_name(status)
    if name == "OUT_OF_MEMORY":
        raise MemoryError("libkernel: no memory for a kernel")
    raise InvalidInput(f"libkernel: {name}")


def _text(value: Any) -> str:
    return str(ffi.string(value).decode())


def status_name(status: int) -> str:
    return _text(lib.lk_status_name(status))


def code_name(code: int) -> str:
    return _text(lib.lk_code_name(code))


def code_text(code: int) -> str:
    return _text(lib.lk_code_text(code))


def code_severity(code: int) -> int:
    return int(lib.lk_code_severity(code))


def field_name(field: int) -> str:
    """As in ``lk_input_t``; empty for none."""
    return _text(lib.lk_field_name(field)).lower() if field else ""


def input_name(kind: int) -> str:
    return _text(lib.lk_input_name(kind))


def fact_name(fact: int) -> str:
    return _text(lib.lk_fact_name(fact))


def life_name(life: int) -> str:
    return _text(lib.lk_life_name(life))


def stage_name(stage: int) -> str:
    return _text(lib.lk_stage_name(stage))


def lifecycle_name(lifecycle: int) -> str:
    return _text(lib.lk_lifecycle_name(lifecycle))


def next_life(life: int, fact: int) -> int:
    """A cell of the life table; 0: the fact is refused."""
    return int(lib.lk_next_life(life, fact))


def stage_may_follow(from_stage: int, to_stage: int) -> bool:
    return bool(lib.lk_stage_may_follow(from_stage, to_stage))


def lifecycle_may_follow(from_lifecycle: int, to_lifecycle: int) -> bool:
    return bool(lib.lk_lifecycle_may_follow(from_lifecycle, to_lifecycle))


def create(config: bytes) -> Handle:
    """A new kernel; freed by ``Handle.close`` or with its handle."""
    out = ffi.new("lk_kernel_t **")
    _require_ok(lib.lk_kernel_create(ffi.from_buffer("lk_config_t *", config), out))
    return Handle(ffi.gc(out[0], lib.lk_kernel_destroy))


def apply(handle: Handle, packed: bytes) -> None:
    """Apply one packed input; the answer is in ``handle.outcomes`` (first) and ``handle.events``."""
    data = ffi.from_buffer("lk_input_t *", packed)
    _require_ok(lib.lk_kernel_apply(_live(handle), data, handle._outcomes, handle._events, 2 * EVENTS_MAX))


def apply_batch(handle: Handle, packed: bytes, first: int, count: int) -> int:
    """Apply up to BATCH_MAX packed inputs from index ``first``; returns how many were taken, at least one."""
    inputs = ffi.from_buffer("lk_input_t[]", packed)
    applied = ffi.new("size_t *")
    events = ffi.new("size_t *")
    status = lib.lk_kernel_apply_batch(
        _live(handle), inputs + first, min(count, BATCH_MAX), handle._outcomes, handle._events, 2 * EVENTS_MAX,
        applied, events,
    )  # fmt: skip
    _require_ok(status)
    return int(applied[0])


def slot(handle: Handle, slot_index: int) -> memoryview:
    view = ffi.new("lk_slot_view_t *")
    _require_ok(lib.lk_kernel_slot(_live(handle), slot_index, view))
    return memoryview(ffi.buffer(view))


def account(handle: Handle) -> memoryview:
    view = ffi.new("lk_account_view_t *")
    _require_ok(lib.lk_kernel_account(_live(handle), view))
    return memoryview(ffi.buffer(view))


def next_deadline_ns(handle: Handle) -> int | None:
    deadline_ns = int(lib.lk_kernel_next_deadline_ns(_live(handle)))
    return None if deadline_ns == NEVER_NS else deadline_ns


def _slot_or_none(slot_index: int) -> int | None:
    return None if slot_index == NO_SLOT else slot_index


def find_trade(handle: Handle, trade_id: bytes) -> int | None:
    return _slot_or_none(lib.lk_kernel_find_trade(_live(handle), ffi.from_buffer("lk_id_t *", trade_id)))


def find_order(handle: Handle, order_id: bytes) -> int | None:
    return _slot_or_none(lib.lk_kernel_find_order(_live(handle), ffi.from_buffer("lk_id_t *", order_id)))


def digest(handle: Handle) -> bytes:
    out = ffi.new("uint8_t[]", DIGEST_BYTES)
    _require_ok(lib.lk_kernel_digest(_live(handle), out))
    return bytes(ffi.buffer(out))


def save(handle: Handle) -> bytes:
    size = ffi.new("size_t *")
    _require_ok(lib.lk_kernel_save_size(_live(handle), size))
    data = ffi.new("uint8_t[]", size[0])
    _require_ok(lib.lk_kernel_save(handle.pointer, data, size[0], size))
    return bytes(ffi.buffer(data))


def restore(handle: Handle, data: bytes) -> None:
    status = lib.lk_kernel_restore(_live(handle), ffi.from_buffer("uint8_t[]", data), len(data))
    if status != _OK:
        raise RestoreRefused(status_name(status))


def memory(handle: Handle) -> tuple[int, int]:
    """Bytes for each slot, and in all."""
    slot_bytes = ffi.new("size_t *")
    total_bytes = ffi.new("size_t *")
    _require_ok(lib.lk_kernel_memory(_live(handle), slot_bytes, total_bytes))
    return int(slot_bytes[0]), int(total_bytes[0])
