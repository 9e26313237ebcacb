"""One peer as a process: a line of JSON in, ``{"row": ..., "trades": ...}``, a line of JSON out.

The end of input ends it. Peers stay up for the whole run, so that the rounds of all contestants can alternate without
importing anything twice.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

Round = Callable[[int], dict[str, Any]]


def serve(versions: dict[str, str], rows: dict[str, Round]) -> None:
    """First say who is there, then answer. What a library prints goes to stderr: stdout is ours alone."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _say(answers, {"versions": versions, "rows": list(rows)})
    for line in sys.stdin:
        asked = json.loads(line)
        _say(answers, rows[asked["row"]](asked["trades"]))


def _say(answers: Any, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()
