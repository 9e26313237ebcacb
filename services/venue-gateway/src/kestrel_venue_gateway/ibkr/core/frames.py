"""Watches the lengths of the frames that arrive: the libraries would buffer four gigabytes if a peer announced them."""

from __future__ import annotations

_PREFIX_BYTES = 4
FRAME_BYTES_MAX = 8 * 1024 * 1024
"""Far above the longest message, a table of scanner parameters of about two megabytes."""


class FrameWatch:
    """Follows a stream without keeping it. ``feed`` it every byte, in order."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._limit = frame_bytes_max
        self._prefix = b""
        self._left = 0
        self.frame_count = 0

    def feed(self, data: bytes) -> str:
        """What is wrong with the stream; empty while nothing is."""
        position = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
                position += step
                continue
            step = min(_PREFIX_BYTES - len(self._prefix), len(data) - position)
            self._prefix += data[position : position + step]
            position += step
            if len(self._prefix) == _PREFIX_BYTES:
                self._left, self._prefix = int.from_bytes(self._prefix, "big"), b""
                self.frame_count += 1
                if self._left > self._limit:
                    return f"a frame of {self._left} bytes, above {self._limit}"
                if not self._left:
                    return "an empty frame"
        return ""
