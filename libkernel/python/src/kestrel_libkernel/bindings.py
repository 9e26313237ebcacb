"""One function per C function: check, call, status to exception, copy out. Knows nothing of what the bytes mean."""

from __future__ import annotations

from typing import Any, NoReturn

from kestrel_libkernel._ffi import ffi, lib

ABI_VERSION = 3
"""What this package was written for."""
BATCH_MAX = 64
"""Inputs that cross at once; a longer batch crosses several times. They and their answers stay in a processor's cache:
with 256 an input takes a third longer."""

if lib.lk_abi_version() != ABI_VERSION:
    raise ImportError(f"libkernel speaks ABI {lib.lk_abi_version()}, these bindings {ABI_VERSION}")

VERSION: str = ffi.string(lib.lk_version()).decode()

INPUT_BYTES: int = ffi.sizeof("lk_input_t")
OUTCOME_BYTES: int = ffi.sizeof("lk_outcome_t")
EVENT_BYTES: int = ffi.sizeof("lk_event_t")
INDEX_BYTES: int = ffi.sizeof("lkpy_answer_t")
NO_SLOT: int = lib.LK_NO_SLOT
NEVER_NS: int = lib.LK_NEVER_NS
DIGEST_BYTES: int = lib.LK_DIGEST_BYTES

_OK = 0
_WORD_BYTES = 8
_BATCH_EVENTS_MEAN = 3
"""Events that a batch has room for, for each input; what does not fit crosses in the next round."""


class InvalidInput(ValueError):
    """The caller's fault: it could not be expressed, or is out of range. Nothing was applied."""


class RestoreRefused(ValueError):
    """The bytes are not a saved state of this kernel; ``reason`` says why. Nothing has changed."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"saved state refused: {reason}")
        self.reason = reason


class Memory:
    """Memory that C answers into, aligned for its structs."""

    __slots__ = ("data", "pointer", "size")

    def __init__(self, size: int) -> None:
        words = ffi.new("uint64_t[]", -(-size // _WORD_BYTES))
        self.pointer = ffi.cast("char *", words)
        self.data = ffi.buffer(words)
        """The same memory; a slice of it is a copy."""
        self.size = size


class View:
    """One struct or array that C writes, and its bytes."""

    __slots__ = ("data", "target")

    def __init__(self, kind: str) -> None:
        self.target = ffi.new(kind if kind.endswith("]") else f"{kind} *")
        self.data = ffi.buffer(self.target)


class Handle:
    """A kernel and the memory that calls answer into: one answer's at once, a batch's with the first batch."""

    __slots__ = ("_batch", "account", "answer", "digest", "event_capacity", "pointer", "room", "slot")

    def __init__(self, pointer: Any) -> None:
        self.pointer = pointer
        self.event_capacity = capacity = int(lib.lk_kernel_event_capacity(pointer))
        self.answer = Memory(OUTCOME_BYTES + capacity * EVENT_BYTES)
        self.room = ffi.new("lkpy_room_t *", [pointer, self.answer.pointer, capacity])
        self.slot = View("lk_slot_view_t")
        self.account = View("lk_account_view_t")
        self.digest = View(f"uint8_t[{DIGEST_BYTES}]")
        self._batch: Batch | None = None

    @property
    def batch(self) -> Batch:
        if self._batch is None:
            self._batch = Batch(self.answer.size)
        return self._batch

    def close(self) -> None:
        """Free the kernel; a second time does nothing."""
        if self.pointer != ffi.NULL:
            ffi.release(self.pointer)
            self.pointer = self.room.kernel = ffi.NULL


class Batch:
    """Room for the answers to one crossing's inputs, their index and their digests."""

    __slots__ = ("answers", "digests", "index", "index_data")

    def __init__(self, answer_bytes_max: int) -> None:
        usual = BATCH_MAX * (OUTCOME_BYTES + _BATCH_EVENTS_MEAN * EVENT_BYTES)
        self.answers = Memory(answer_bytes_max + usual)
        self.index = ffi.new("lkpy_answer_t[]", BATCH_MAX)
        self.index_data = ffi.buffer(self.index)
        self.digests = Memory(BATCH_MAX * DIGEST_BYTES)


def _live(handle: Handle) -> Any:
    if handle.pointer == ffi.NULL:
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


def ledger_status_name(status: int) -> str:
    return _text(lib.lk_ledger_status_name(status))


def ledger_cause_name(cause: int) -> str:
    return _text(lib.lk_ledger_cause_name(cause))


def fee_status_name(status: int) -> str:
    return _text(lib.lk_fee_status_name(status))


def requirement_name(requirement: int) -> str:
    return _text(lib.lk_requirement_name(requirement))


def input_reads(kind: int, field: int) -> int:
    """What inputs of this kind make of a field: a ``Requirement``."""
    return int(lib.lk_input_reads(kind, field))


def conviction_to_leverage(conviction: int, leverage_max: int) -> int:
    """The venue leverage for a conviction at scale 8: linear from 0.5 to 9.0, rounded half to even (K05)."""
    return int(lib.lk_conviction_to_leverage(conviction, leverage_max))


def conviction_of(notional: int, capital: int) -> int:
    """Notional divided by capital at scale 8, half to even. ``InvalidInput``: capital is not positive, or no fit."""
    conviction = ffi.new("int64_t *")
    _require_ok(lib.lk_conviction_of(notional, capital, conviction))
    return int(conviction[0])


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


apply = lib.lkpy_apply
"""``apply(room, packed)``: bytes of the answer, or minus a status, for ``refuse``. Called by ``Kernel.apply`` itself:
one more function in between would cost as much as the kernel's own work."""


def refuse(handle: Handle, answer: int) -> NoReturn:
    """Raise what a negative answer of ``apply`` means."""
    _live(handle)
    _require_ok(-answer)
    raise InvalidInput(f"libkernel answered {answer}")


def apply_batch(handle: Handle, packed: bytes, *, digests: bool) -> tuple[bytes, bytes, bytes]:
    """Apply packed inputs, BATCH_MAX at most: answers, their index, and digests or nothing. Fewer than were given may
    have been applied, but one at least."""
    room = handle.batch
    taken = lib.lkpy_apply_batch(
        handle.room, packed, len(packed) // INPUT_BYTES, room.answers.pointer, room.answers.size, room.index,
        room.digests.pointer if digests else ffi.NULL,
    )  # fmt: skip
    if taken <= 0:
        refuse(handle, taken)
    answers = room.answers.data[: room.index[taken - 1].end]
    index = room.index_data[: taken * INDEX_BYTES]
    return answers, index, room.digests.data[: taken * DIGEST_BYTES if digests else 0]


def slot(handle: Handle, slot_index: int) -> bytes:
    """The bytes of an ``lk_slot_view_t``."""
    _require_ok(lib.lk_kernel_slot(_live(handle), slot_index, handle.slot.target))
    return bytes(handle.slot.data)


def account(handle: Handle) -> bytes:
    """The bytes of an ``lk_account_view_t``."""
    _require_ok(lib.lk_kernel_account(_live(handle), handle.account.target))
    return bytes(handle.account.data)


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
    _require_ok(lib.lk_kernel_digest(_live(handle), handle.digest.target))
    return bytes(handle.digest.data)


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
