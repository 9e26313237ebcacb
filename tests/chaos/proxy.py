"""A TCP proxy for one direction of a route between two servers: what a cable is, and a cut cable."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from typing import Any

_CALL_TIMEOUT_S = 60.0
_CHUNK_BYTES = 65_536


class Proxy:
    """Passes bytes on from its own port to another; cut, it drops what is open and refuses what is new."""

    def __init__(self, wires: Wires, target_port: int) -> None:
        self._socket = socket.socket()  # bound at once, so that nobody else is given its port
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._wires = wires
        self._target_port = target_port
        self._open: set[asyncio.StreamWriter] = set()
        self._is_cut = False

    def start(self) -> None:
        self._wires.call(self._listen())

    def cut(self) -> None:
        self._wires.call(self._drop())

    def mend(self) -> None:
        self._is_cut = False

    async def _listen(self) -> None:
        await asyncio.start_server(self._accept, sock=self._socket)

    async def _drop(self) -> None:
        self._is_cut = True
        for writer in list(self._open):
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        if self._is_cut:  # in the meantime, and what was not open yet was not dropped
            far_writer.close()
            writer.close()
            return
        self._open |= {writer, far_writer}
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        self._open -= {writer, far_writer}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                writer.write(data)
                await writer.drain()
        writer.close()


class Wires:
    """The thread all proxies live in: tests may block their own loop without cutting anything by accident."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_TIMEOUT_S)

    def close(self) -> None:
        self.call(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_TIMEOUT_S)
        self._loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
