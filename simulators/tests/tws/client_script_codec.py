"""One client library's own codec, without a socket: JSON lines in, JSON lines out.

    client_script_codec.py ib_insync|ib_async

``{"send": "placeOrder", "args": [...], "version": 176}`` answers the payloads that the library's Client would put on
the socket; ``{"decode": [payload, ...], "version": 176}`` answers the calls its Decoder makes, and what it logs.
Objects travel as ``{"$": "Contract", "symbol": ...}``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import logging
import sys
from typing import Any

asyncio.set_event_loop(asyncio.new_event_loop())  # ib_insync asks for one while it is imported
library: Any = importlib.import_module(sys.argv[1])
client_module: Any = importlib.import_module(f"{sys.argv[1]}.client")
decoder_module: Any = importlib.import_module(f"{sys.argv[1]}.decoder")


class Recorder:
    """Stands where the library's Wrapper stands, and writes down what it is told."""

    class ib:  # noqa: N801
        TimezoneTWS = None

    defaultTimezone = None  # noqa: N815

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.calls.append([name, list(args)])


class Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


class Capture:
    """Stands where the library's socket stands."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def sendMsg(self, message: bytes) -> None:
        self.frames.append(message)


def built(value: Any) -> Any:
    if isinstance(value, list):
        return [built(item) for item in value]
    if isinstance(value, dict):
        kind = getattr(library, value["$"])
        return kind(**{name: built(item) for name, item in value.items() if name != "$"})
    return value


def plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)


def sent(method: str, args: list[Any], version: int) -> list[str]:
    client = client_module.Client(Recorder())
    client.conn = Capture()
    client.connState = client.CONNECTED
    client._serverVersion = version
    client.MaxRequests = 0
    getattr(client, method)(*built(args))
    return [frame[4:].hex() for frame in client.conn.frames]


def decoded(payloads: list[str], version: int) -> dict[str, Any]:
    recorder = Recorder()
    decoder = decoder_module.Decoder(recorder, version)
    complaints = Complaints()
    decoder.logger.addHandler(complaints)
    decoder.logger.propagate = False
    for payload in payloads:
        decoder.interpret(bytes.fromhex(payload).decode(errors="backslashreplace").split("\0")[:-1])
    decoder.logger.removeHandler(complaints)
    return {"calls": plain(recorder.calls), "complaints": complaints.texts}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if "send" in asked:
            answer: Any = sent(asked["send"], asked["args"], asked["version"])
        else:
            answer = decoded(asked["decode"], asked["version"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
