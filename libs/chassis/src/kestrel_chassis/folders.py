"""Folders that another system user has to reach: PostgreSQL does not run as root."""

from __future__ import annotations

import stat
from pathlib import Path


def let_others_pass(folder: Path) -> None:
    """Let other users walk through (not look into) a folder and those above it. For root, who may."""
    for each in (folder.resolve(), *folder.resolve().parents):
        mode = each.stat().st_mode
        if not mode & stat.S_IXOTH:
            each.chmod(mode | stat.S_IXOTH)
