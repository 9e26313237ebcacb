"""The library under test, spoken to in the raw bytes of its structs; their formats are asked of cffi, not copied."""

from __future__ import annotations

from typing import Any

from kestrel_libkernel._ffi import ffi, lib
from tests.reference.inputs import Config, Input
from tests.reference.layout import Layout
from tests.reference.words import ID_BYTES

ABI_VERSION: int = lib.lk_abi_version()


def _words(typename: Any, prefix: str = "") -> list[str]:
    """The fields of a struct as words of a ``Layout``; nested structs by their path."""
    words: list[str] = []
    end = 0
    for name, field in typename.fields:
        if field.offset > end:
            words.append(f"-:{field.offset - end}x")
        end = field.offset + ffi.sizeof(field.type)
        words += _field_words(prefix + name, field.type)
    size = ffi.sizeof(typename)
    return [*words, f"-:{size - end}x"] if size > end else words


_INTEGERS = {"uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "uint64_t": "Q", "int64_t": "q", "int32_t": "i"}


def _field_words(path: str, kind: Any) -> list[str]:
    if path.rpartition(".")[2].startswith("reserved"):
        return [f"-:{ffi.sizeof(kind)}x"]
    if kind.kind == "struct":
        (name, inner), *more = kind.fields
        if more:
            return _words(kind, path + ".")
        return [f"{path}:{ffi.sizeof(kind)}s"] if name == "text" else [f"{path}:{_INTEGERS[inner.type.cname]}"]
    if kind.kind == "array":
        return [f"{path}:{kind.length}{_INTEGERS[kind.item.cname]}"]
    return [f"{path}:{_INTEGERS[kind.cname]}"]


def _layout(name: str) -> Layout:
    return Layout(" ".join(_words(ffi.typeof(name))))


CONFIG, INPUT, OUTCOME = _layout("lk_config_t"), _layout("lk_input_t"), _layout("lk_outcome_t")
EVENT, SLOT, ACCOUNT = _layout("lk_event_t"), _layout("lk_slot_view_t"), _layout("lk_account_view_t")


class StatusError(Exception):
    """The library answered with another status than OK."""


def _require_ok(status: int) -> None:
    if status:
        raise StatusError(ffi.string(lib.lk_status_name(status)).decode())


class Subject:
    """One kernel of the library."""

    def __init__(self, config: Config) -> None:
        out = ffi.new("lk_kernel_t **")
        _require_ok(lib.lk_kernel_create(ffi.from_buffer("lk_config_t *", CONFIG.pack(config)), out))
        self._kernel = ffi.gc(out[0], lib.lk_kernel_destroy)
        self._capacity: int = lib.lk_kernel_event_capacity(self._kernel)
        self._outcome, self._events = ffi.new("lk_outcome_t *"), ffi.new("lk_event_t[]", self._capacity)
        self._slot, self._account = ffi.new("lk_slot_view_t *"), ffi.new("lk_account_view_t *")
        self._digest = ffi.new("uint8_t[32]")

    def apply(self, value: Input) -> tuple[bytes, bytes]:
        """The outcome and the events, packed."""
        data = ffi.from_buffer("lk_input_t *", INPUT.pack(value))
        _require_ok(lib.lk_kernel_apply(self._kernel, data, self._outcome, self._events, self._capacity))
        size = EVENT.size * self._outcome.event_count
        return bytes(ffi.buffer(self._outcome)), bytes(ffi.buffer(self._events, size))

    def apply_all(self, values: list[Input]) -> None:
        """As one batch; the answers are not kept."""
        data = b"".join(map(INPUT.pack, values))
        inputs = ffi.from_buffer("lk_input_t[]", data)
        outcomes, room = ffi.new("lk_outcome_t[]", max(1, len(values))), 4 * self._capacity
        events = ffi.new("lk_event_t[]", room)
        applied, counted = ffi.new("size_t *"), ffi.new("size_t *")
        done = 0
        while done < len(values):
            status = lib.lk_kernel_apply_batch(
                self._kernel, inputs + done, len(values) - done, outcomes, events, room, applied, counted
            )
            _require_ok(status)
            done += applied[0]

    def slot(self, slot_index: int) -> bytes:
        _require_ok(lib.lk_kernel_slot(self._kernel, slot_index, self._slot))
        return bytes(ffi.buffer(self._slot))

    def account(self) -> bytes:
        _require_ok(lib.lk_kernel_account(self._kernel, self._account))
        return bytes(ffi.buffer(self._account))

    def digest(self) -> bytes:
        _require_ok(lib.lk_kernel_digest(self._kernel, self._digest))
        return bytes(ffi.buffer(self._digest))

    def save(self) -> bytes:
        size = ffi.new("size_t *")
        _require_ok(lib.lk_kernel_save_size(self._kernel, size))
        data = ffi.new("uint8_t[]", size[0])
        _require_ok(lib.lk_kernel_save(self._kernel, data, size[0], size))
        return bytes(ffi.buffer(data, size[0]))

    def restore(self, data: bytes) -> None:
        _require_ok(lib.lk_kernel_restore(self._kernel, ffi.from_buffer("uint8_t[]", data), len(data)))

    def find_trade(self, trade_id: bytes) -> int:
        return int(lib.lk_kernel_find_trade(self._kernel, _id(trade_id)))

    def find_order(self, order_id: bytes) -> int:
        """By our id, else by the venue's."""
        return int(lib.lk_kernel_find_order(self._kernel, _id(order_id)))


def _id(text: bytes) -> Any:
    return ffi.new("lk_id_t *", {"text": text.ljust(ID_BYTES, b"\0")})


def stage_may_follow(from_stage: int, to_stage: int) -> bool:
    return bool(lib.lk_stage_may_follow(from_stage, to_stage))


def lifecycle_may_follow(from_lifecycle: int, to_lifecycle: int) -> bool:
    return bool(lib.lk_lifecycle_may_follow(from_lifecycle, to_lifecycle))


def next_life(life: int, fact: int) -> int:
    return int(lib.lk_next_life(life, fact))


def reads(kind: int, field: int) -> bool:
    """Whether the kind makes anything of the field."""
    return bool(lib.lk_input_reads(kind, field))


def conviction_to_leverage(conviction: int, leverage_max: int) -> int:
    return int(lib.lk_conviction_to_leverage(conviction, leverage_max))


def code_severity(code: int) -> int:
    return int(lib.lk_code_severity(code))


def conviction_of(notional: int, capital: int) -> int | None:
    out = ffi.new("int64_t *")
    return int(out[0]) if lib.lk_conviction_of(notional, capital, out) == 0 else None
