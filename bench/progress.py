"""What is being measured right now, for whoever waits: one line on stderr for each step, with the seconds so far."""

from __future__ import annotations

import sys
import time

_BEGAN_S = time.monotonic()


def tell(step: str) -> None:
    print(f"bench {time.monotonic() - _BEGAN_S:5.0f} s  {step}", file=sys.stderr, flush=True)
